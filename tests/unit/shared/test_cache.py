"""Encoded bytes in memory: what is dropped, and when."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.shared.cache import ENTRY_OVERHEAD_BYTES, EncodedAnswers, ImmutableParts, LeastRecentlyUsed, encoded_size

ROOM = 3 * (100 + ENTRY_OVERHEAD_BYTES)
"""For three entries of 100 bytes."""


@dataclass(slots=True)
class Shared:
    """Parts in a dictionary."""

    kept: dict[str, bytes] = field(default_factory=dict)

    async def find(self, key: str) -> bytes | None:
        return self.kept.get(key)

    async def keep(self, key: str, data: bytes) -> None:
        self.kept[key] = data


@dataclass(slots=True)
class Loader:
    """Counts what is loaded."""

    data: bytes = b"lessons"
    calls: int = 0

    async def __call__(self) -> bytes:
        self.calls += 1
        return self.data


def test_what_was_not_used_for_longest_is_dropped_by_size() -> None:
    cache: LeastRecentlyUsed[int, bytes] = LeastRecentlyUsed(ROOM, encoded_size)
    for key in (1, 2, 3):
        cache.keep(key, bytes(100))
    assert cache.find(1)
    cache.keep(4, bytes(100))
    assert [key for key in (1, 2, 3, 4) if cache.find(key)] == [1, 3, 4]
    assert cache.size_bytes == ROOM
    cache.keep(5, bytes(ROOM - ENTRY_OVERHEAD_BYTES))
    assert [key for key in (1, 2, 3, 4, 5) if cache.find(key)] == [5]


def test_what_exceeds_the_bound_alone_drops_nothing() -> None:
    cache: LeastRecentlyUsed[int, bytes] = LeastRecentlyUsed(ROOM, encoded_size)
    cache.keep(1, bytes(100))
    cache.keep(2, bytes(ROOM))
    assert cache.find(1)
    assert cache.find(2) is None
    cache.clear()
    assert (cache.find(1), cache.size_bytes) == (None, 0)


def test_texts_of_keys_count() -> None:
    """Empty pages of queries that nothing matches are as good a way to fill a memory as any."""
    cache: LeastRecentlyUsed[tuple[str | int, ...], bytes] = LeastRecentlyUsed(100_000, encoded_size)
    for number in range(1000):
        cache.keep(("SearchCourses", "\U0001f35e" * 200, number), b"")
    kept = sum(cache.find(("SearchCourses", "\U0001f35e" * 200, number)) is not None for number in range(1000))
    assert 0 < kept * 4 * 200 < cache.size_bytes <= 100_000


def test_a_generation_drops_all_answers_and_those_that_were_being_read() -> None:
    answers = EncodedAnswers()
    answers.advance(2)
    answers.keep("page", b"old", generation=2)
    answers.advance(2)
    assert answers.find("page") == b"old"
    answers.advance(3)
    answers.keep("page", b"read before the change", generation=2)
    assert (answers.find("page"), answers.size_bytes) == (None, 0)
    answers.advance(1)
    assert answers.generation == 3


async def test_parts_are_loaded_once_for_all_processes() -> None:
    shared, load = Shared(), Loader()
    for process in (ImmutableParts(shared), ImmutableParts(shared)):
        for _ in range(2):
            assert await process.part("course:1", load) == b"lessons"
    assert load.calls == 1
    alone = ImmutableParts()
    for _ in range(2):
        assert await alone.part("course:1", load) == b"lessons"
    assert load.calls == 2
