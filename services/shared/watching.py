"""Watches: streams of what is new, for which a process asks its database once a second, however many there are.

A watch begins with what there is after its position, read by itself, and goes on with what the process finds for all of
them. Items of one key have ascending sequences and appear in their order: nothing appears below what was seen.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from services.shared.errors import DependencyUnavailable, DomainError, StreamInterrupted
from services.shared.limits import HEARTBEAT_SECONDS
from services.shared.places import Places

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterator, Mapping, Sequence

POLL_SECONDS = 1.0
MAX_READ_SECONDS = 2.0
MAX_READ_ITEMS = 100
"""Maximum number of items of one key that one read returns."""
MAX_QUEUED_ITEMS = 2 * MAX_READ_ITEMS
"""Maximum number of items that wait for a slow reader. Beyond them its watch reads on by itself, as the reader does."""


class Item(Protocol):
    """What is watched."""

    @property
    def sequence(self) -> int:
        """Position of the item: each is greater than that of the item before."""


Watched = TypeVar("Watched", bound="Item")
Key = TypeVar("Key", bound="Hashable")


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing is new."""

    sequence: int
    """Sequence of the last item of the stream."""


@dataclass(slots=True, eq=False)
class _Watcher(Generic[Watched]):
    position: int
    """Sequence of the last item that was given to the reader."""
    floor: int
    """Up to here it reads by itself; beyond, it is told."""
    queue: deque[Watched] = field(default_factory=deque)
    failure: DomainError | None = None
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, items: Sequence[Watched]) -> None:
        if len(self.queue) + len(items) > MAX_QUEUED_ITEMS:
            self.queue.clear()
            self.floor = items[-1].sequence
        else:
            self.queue.extend(items)
        self.told.set()

    def fail(self, failure: DomainError) -> None:
        self.failure = failure
        self.told.set()


@dataclass(slots=True, eq=False)
class _Topic(Generic[Watched]):
    """A key that is watched."""

    head: int
    """Up to here its watchers have been told."""
    watchers: list[_Watcher[Watched]] = field(default_factory=list)


class Watchers(Generic[Key, Watched]):
    """All watches of one kind in a process."""

    def __init__(
        self,
        read: Callable[[Mapping[Key, int]], Awaitable[Mapping[Key, Sequence[Watched]]]],
        *,
        max_watchers: int,
        max_watchers_per_user: int,
        poll_seconds: float = POLL_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        """Watch with `read`: one statement that returns for each key the items after a sequence, in order.

        It returns at most MAX_READ_ITEMS items of a key.
        """
        self._read = read
        self._places = Places(max_total=max_watchers, max_per_user=max_watchers_per_user)
        self._poll_seconds = poll_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._topics: dict[Key, _Topic[Watched]] = {}
        self._occupied = asyncio.Event()
        self._ended = False

    @property
    def count(self) -> int:
        """Number of open watches."""
        return self._places.taken

    async def watch(self, key: Key, *, after: int, head: int, user_id: str) -> AsyncGenerator[Watched | Heartbeat]:
        """Yield the items of `key` after a sequence, each once and in order, and heartbeats between them.

        `head` is the sequence of its newest item, as read just now. Raises TooManyStreams, Overloaded;
        StreamInterrupted when the process drains; what `read` raises.
        """
        with self._places.take(user_id), self._enter(key, after, head) as watcher:
            loop = asyncio.get_running_loop()
            items: Sequence[Watched]
            beat = loop.time()  # The first heartbeat says that the reader has all there was.
            while True:
                if watcher.failure is not None:
                    raise watcher.failure
                if watcher.position < watcher.floor:
                    items = (await self._read({key: watcher.position})).get(key, ())
                    if not items:
                        watcher.floor = watcher.position
                elif beat <= loop.time():
                    beat = loop.time() + self._heartbeat_seconds
                    yield Heartbeat(watcher.position)
                    continue
                elif watcher.queue:
                    items = (watcher.queue.popleft(),)
                else:
                    items = ()
                    await _told(watcher, beat)
                for item in items:
                    if item.sequence > watcher.position:
                        watcher.position = item.sequence
                        yield item

    async def run(self) -> None:
        """Ask for what is new once a second, while there are watches."""
        loop = asyncio.get_running_loop()
        while True:
            await self._occupied.wait()
            due = loop.time() + self._poll_seconds
            await self._poll()
            await asyncio.sleep(due - loop.time())

    def end(self) -> None:
        """End all watches, those that begin later too: their clients are to go to another process."""
        self._ended = True
        self._fail(StreamInterrupted())

    async def _poll(self) -> None:
        due = dict(self._topics)
        while due:
            try:
                async with asyncio.timeout(MAX_READ_SECONDS):
                    found = await self._read({key: topic.head for key, topic in due.items()})
            except (DomainError, TimeoutError) as error:
                # Watches that see nothing must not look as if nothing happened.
                self._fail(error if isinstance(error, DomainError) else DependencyUnavailable(retry_after_seconds=1))
                return
            for key, items in found.items():
                if items:
                    topic = due[key]
                    topic.head = items[-1].sequence
                    for watcher in topic.watchers:
                        watcher.tell(items)
            due = {key: due[key] for key, items in found.items() if len(items) >= MAX_READ_ITEMS}

    def _fail(self, error: DomainError) -> None:
        for topic in self._topics.values():
            for watcher in topic.watchers:
                watcher.fail(error)

    @contextmanager
    def _enter(self, key: Key, after: int, head: int) -> Iterator[_Watcher[Watched]]:
        if self._ended:
            raise StreamInterrupted
        topic = self._topics.setdefault(key, _Topic(head))
        watcher = _Watcher[Watched](position=after, floor=max(topic.head, head))
        topic.watchers.append(watcher)
        self._occupied.set()
        try:
            yield watcher
        finally:
            topic.watchers.remove(watcher)
            if not topic.watchers:
                del self._topics[key]
            if not self._topics:
                self._occupied.clear()


async def _told(watcher: _Watcher[Watched], until: float) -> None:
    """Wait until there is news for the watcher, or the time has come."""
    watcher.told.clear()
    try:
        async with asyncio.timeout_at(until):
            await watcher.told.wait()
    except TimeoutError:
        pass
