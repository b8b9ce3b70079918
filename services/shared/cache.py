"""What was read before, in memory: least recently used out, bounded by its size.

Answers are valid for one generation of what they show. Parts that never change outlive it, and may be kept on a server
that all processes share, too.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from sys import getsizeof
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from services.shared.encoded import Encoded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.db import Database
    from services.shared.idempotency import Message

MEBIBYTE = 1024 * 1024
MAX_ANSWER_BYTES = 20 * MEBIBYTE
MAX_PART_BYTES = 12 * MEBIBYTE
"""Together 32 MiB a process."""
ENTRY_OVERHEAD_BYTES = 256
"""What an entry costs beside its bytes and the texts of its key, about: pointers, headers of objects."""
MAX_STALE_SECONDS = 1.0
"""Maximum age of answers from memory, where the generation is asked for."""

Key = TypeVar("Key", bound="Hashable")
Value = TypeVar("Value")
Loaded = TypeVar("Loaded")
Read = TypeVar("Read")
Response = TypeVar("Response", bound="Message")


class LeastRecentlyUsed(Generic[Key, Value]):
    """Values by key. Beyond the bound, what was not used for longest is dropped."""

    def __init__(self, max_bytes: int, size_of: Callable[[Key, Value], int]) -> None:
        """`size_of` returns the bytes of memory that an entry takes, about."""
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self.size_bytes = 0
        """Size of all that is kept."""

    def __contains__(self, key: Key) -> bool:
        return key in self._kept

    def find(self, key: Key) -> Value | None:
        """Return what is kept under `key`."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def keep(self, key: Key, value: Value) -> None:
        """Keep a value under `key`, unless there is one or it alone exceeds the bound."""
        size = self._size_of(key, value)
        if key in self._kept or size > self._max_bytes:
            return
        self._kept[key] = value, size
        self.size_bytes += size
        while self.size_bytes > self._max_bytes:
            _, (_, dropped) = self._kept.popitem(last=False)
            self.size_bytes -= dropped

    def clear(self) -> None:
        """Drop everything."""
        self._kept.clear()
        self.size_bytes = 0


class EncodedAnswers:
    """The encoded answers of one process. A new generation drops them all.

    A generation is a number that grows with every change of what is answered. An answer is kept only while the one that
    was current before its data was read still is, so that a slow reader never brings back what has changed.
    """

    def __init__(self, max_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._answers: LeastRecentlyUsed[Hashable, bytes] = LeastRecentlyUsed(max_bytes, encoded_size)
        self.generation = 0

    @property
    def size_bytes(self) -> int:
        """Size of all that is kept."""
        return self._answers.size_bytes

    def advance(self, generation: int) -> None:
        """Drop everything if `generation` is newer than the current one."""
        if generation > self.generation:
            self.generation = generation
            self._answers.clear()

    def find(self, key: Hashable) -> bytes | None:
        """Return the answer under `key`, if it is kept."""
        return self._answers.find(key)

    def keep(self, key: Hashable, answer: bytes, *, generation: int) -> None:
        """Keep an answer whose data was read after `generation` was found to be current."""
        if generation == self.generation:
            self._answers.keep(key, answer)


class CachedReads:
    """Reads of a database that are answered from memory, encoded, where they were answered before."""

    def __init__(
        self,
        database: Database,
        answers: EncodedAnswers,
        find_generation: Callable[[AsyncConnection], Awaitable[int]],
    ) -> None:
        """Answer from `answers`, which are valid for the generation that `find_generation` returns."""
        self._database = database
        self._answers = answers
        self._find_generation = find_generation
        self._checked_at = float("-inf")

    def advance(self, generation: int) -> None:
        """Drop what is kept if `generation`, as it was just read or made, is new."""
        self._answers.advance(generation)

    async def refresh(self) -> None:
        """Drop what is kept if there is a new generation, asking the database once a second at most."""
        now = time.monotonic()
        if now - self._checked_at > MAX_STALE_SECONDS:
            async with self._database.reading() as connection:
                self.advance(await self._find_generation(connection))
            self._checked_at = max(self._checked_at, now)

    async def answer(
        self,
        key: Hashable,
        load: Callable[[AsyncConnection], Awaitable[Loaded]],
        encode: Callable[[Loaded], Response],
    ) -> Response:
        """Return the answer kept under `key`, or load, encode and keep it.

        All who would be given the same answer share the key, and nobody else.
        """
        return Encoded[Response](await self.encoded(key, load, encode)).as_response()

    async def encoded(
        self,
        key: Hashable,
        load: Callable[[AsyncConnection], Awaitable[Loaded]],
        encode: Callable[[Loaded], Message],
    ) -> bytes:
        """Return the bytes of the answer kept under `key`, or load, encode and keep it."""
        answer = self._answers.find(key)
        if answer is None:
            generation = self._answers.generation
            answer = (await self.read(load, encode)).SerializeToString()
            self._answers.keep(key, answer, generation=generation)
        return answer

    async def read(
        self, load: Callable[[AsyncConnection], Awaitable[Loaded]], encode: Callable[[Loaded], Read]
    ) -> Read:
        """Load and encode an answer, whatever is kept."""
        async with self._database.reading() as connection:
            return encode(await load(connection))


class SharedParts(Protocol):
    """Keeps parts for all processes, as well as it can."""

    async def find(self, key: str) -> bytes | None:
        """Return what is kept under `key`; None, too, where that cannot be found out."""
        ...

    async def keep(self, key: str, data: bytes) -> None:
        """Keep bytes under `key`, if that can be done."""
        ...


class ImmutableParts:
    """Encoded parts of answers that never change, like a revision's lessons: in memory, then where all share them."""

    def __init__(self, shared: SharedParts | None = None, *, max_bytes: int = MAX_PART_BYTES) -> None:
        self._own: LeastRecentlyUsed[str, bytes] = LeastRecentlyUsed(max_bytes, encoded_size)
        self._shared = shared

    async def part(self, key: str, load: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the part under `key`, or load and keep it."""
        part = self._own.find(key)
        if part is None:
            part = await self._shared.find(key) if self._shared else None
            if part is None:
                part = await load()
                if self._shared:
                    await self._shared.keep(key, part)
            self._own.keep(key, part)
        return part


def encoded_size(key: Hashable, data: bytes) -> int:
    """Return what encoded bytes take in memory with their key, about."""
    parts = key if isinstance(key, tuple) else (key,)
    # A query is chosen by its caller, and longer than the empty page that answers it.
    return len(data) + ENTRY_OVERHEAD_BYTES + sum(getsizeof(part) for part in parts if isinstance(part, str))
