"""Watches: every item once and in order, for little work, and with bounds."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from services.shared.errors import (
    DependencyUnavailable,
    DomainError,
    Overloaded,
    StreamInterrupted,
    TooManyStreams,
)
from services.shared.watching import MAX_QUEUED_ITEMS, MAX_READ_ITEMS, Heartbeat, Watchers
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Item:
    sequence: int


@dataclass(slots=True)
class Source:
    """Histories that grow, and how often they were asked for."""

    counts: dict[str, int] = field(default_factory=dict)
    reads: list[dict[str, int]] = field(default_factory=list)
    failure: Exception | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def read(self, positions: Mapping[str, int]) -> Mapping[str, Sequence[Item]]:
        self.reads.append(dict(positions))
        found = {
            key: [Item(number) for number in range(after + 1, self.counts.get(key, 0) + 1)][:MAX_READ_ITEMS]
            for key, after in positions.items()
        }
        await self.gate.wait()
        if self.failure:
            raise self.failure
        return {key: items for key, items in found.items() if items}


@asynccontextmanager
async def running(source: Source, **options: Any) -> AsyncIterator[Watchers[str, Item]]:
    settings: dict[str, Any] = {"max_watchers": 1000, "max_watchers_per_user": 1000, "poll_seconds": 0.01} | options
    watchers = Watchers[str, Item](source.read, **settings)
    polling = asyncio.create_task(watchers.run())
    try:
        yield watchers
    finally:
        polling.cancel()


async def sequences(watch: AsyncGenerator[Item | Heartbeat], until: int) -> list[int]:
    """Read a watch until it gives the item of a sequence."""
    seen: list[int] = []
    while not seen or seen[-1] < until:
        news = await anext(watch)
        if isinstance(news, Item):
            seen.append(news.sequence)
    return seen


async def test_a_watch_begins_with_what_there_is_and_goes_on_with_what_is_new() -> None:
    source = Source({"a": 250})
    async with running(source) as watchers, aclosing(watchers.watch("a", after=10, head=250, user_id="u")) as watch:
        assert await sequences(watch, 250) == list(range(11, 251))
        assert await anext(watch) == Heartbeat(250)
        source.counts["a"] = 252
        assert await sequences(watch, 252) == [251, 252]


async def test_items_that_come_while_a_watch_begins_are_given_once() -> None:
    source = Source({"a": 3})
    async with running(source) as watchers, AsyncExitStack() as stack:
        first = await stack.enter_async_context(aclosing(watchers.watch("a", after=3, head=3, user_id="u")))
        assert await anext(first) == Heartbeat(3)
        for count in range(4, 400):
            source.counts["a"] = count
            late = await stack.enter_async_context(aclosing(watchers.watch("a", after=0, head=count, user_id="u")))
            if count % 40 == 0:
                assert await sequences(late, count) == list(range(1, count + 1))
        assert await sequences(first, 399) == list(range(4, 400))


async def test_many_watches_cost_one_read_a_round() -> None:
    source = Source({str(number): 1 for number in range(50)})
    async with running(source) as watchers, AsyncExitStack() as stack:
        watches = [
            await stack.enter_async_context(aclosing(watchers.watch(str(n % 50), after=1, head=1, user_id=str(n))))
            for n in range(500)
        ]
        assert [await anext(watch) for watch in watches] == [Heartbeat(1)] * 500
        source.counts = {str(number): 2 for number in range(50)}
        assert [await sequences(watch, 2) for watch in watches] == [[2]] * 500
        assert all(len(read) == 50 for read in source.reads[-2:]), "each asks for all of them"
        before = len(source.reads)
        await eventually(lambda: _grown(source, before + 3))
        assert len(source.reads) <= before + 5
    before = len(source.reads)
    assert len(source.reads) == before, "nobody watches, nothing is asked"


async def _grown(source: Source, count: int) -> bool:
    return len(source.reads) >= count


async def test_what_waits_for_a_slow_reader_is_bounded_and_it_still_gets_everything() -> None:
    source = Source()
    async with running(source) as watchers, aclosing(watchers.watch("a", after=0, head=0, user_id="u")) as slow:
        assert await anext(slow) == Heartbeat(0)
        (watcher,) = watchers._topics["a"].watchers
        for count in range(50, 1001, 50):
            source.counts["a"] = count
            await eventually(partial(_polled, watchers, count))
            assert len(watcher.queue) <= MAX_QUEUED_ITEMS
        assert await sequences(slow, 1000) == list(range(1, 1001))


async def _polled(watchers: Watchers[str, Item], count: int) -> bool:
    return watchers._topics["a"].head >= count


async def test_a_burst_is_read_to_its_end_at_once() -> None:
    source = Source({"a": 0})
    async with (
        running(source, poll_seconds=0.2) as watchers,
        aclosing(watchers.watch("a", after=0, head=0, user_id="u")) as watch,
    ):
        assert await anext(watch) == Heartbeat(0)
        source.counts["a"] = 3 * MAX_READ_ITEMS
        async with asyncio.timeout(0.4):
            assert await sequences(watch, 300) == list(range(1, 301))


async def test_heartbeats_come_at_their_interval() -> None:
    source = Source({"a": 7})
    async with (
        running(source, heartbeat_seconds=0.05) as watchers,
        aclosing(watchers.watch("a", after=7, head=7, user_id="u")) as watch,
    ):
        started = asyncio.get_running_loop().time()
        assert [await anext(watch) for _ in range(4)] == [Heartbeat(7)] * 4
        assert 0.15 <= asyncio.get_running_loop().time() - started < 1


async def test_places_are_bounded_for_a_user_and_for_all_and_are_free_again_at_the_end() -> None:
    async with running(Source(), max_watchers=3, max_watchers_per_user=2) as watchers, AsyncExitStack() as stack:

        async def opened(user_id: str) -> AsyncGenerator[Item | Heartbeat]:
            watch = watchers.watch("a", after=0, head=0, user_id=user_id)
            await anext(watch)
            return watch

        one, _ = [await stack.enter_async_context(aclosing(await opened("u"))) for _ in range(2)]
        with pytest.raises(TooManyStreams) as refused:
            await opened("u")
        assert refused.value.metadata == {"limit": "2"}
        await stack.enter_async_context(aclosing(await opened("v")))
        with pytest.raises(Overloaded):
            await opened("w")
        await one.aclose()
        await stack.enter_async_context(aclosing(await opened("w")))
        assert watchers.count == 3
    assert watchers.count == 0
    assert not watchers._topics


async def test_a_reader_that_is_cancelled_frees_its_place_at_once() -> None:
    async with running(Source()) as watchers:

        async def read() -> None:
            async with aclosing(watchers.watch("a", after=0, head=0, user_id="u")) as watch:
                async for _ in watch:
                    pass

        reader = asyncio.create_task(read())
        await eventually(lambda: _counts(watchers, 1))
        reader.cancel()
        async with asyncio.timeout(0.1):
            await asyncio.wait([reader])
        assert watchers.count == 0


async def _counts(watchers: Watchers[str, Item], count: int) -> bool:
    return watchers.count == count


async def test_draining_ends_all_watches_and_takes_no_more() -> None:
    async with running(Source()) as watchers, aclosing(watchers.watch("a", after=0, head=0, user_id="u")) as watch:
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await eventually(lambda: _counts(watchers, 1))
        watchers.end()
        with pytest.raises(StreamInterrupted):
            await waiting
        with pytest.raises(StreamInterrupted):
            await anext(watchers.watch("a", after=0, head=0, user_id="u"))


@pytest.mark.parametrize(("failure", "told"), [(DependencyUnavailable(), DependencyUnavailable)])
async def test_a_database_that_does_not_answer_ends_the_watches_and_not_the_polling(
    failure: Exception, told: type[DomainError]
) -> None:
    source = Source()
    async with running(source) as watchers:
        async with aclosing(watchers.watch("a", after=0, head=0, user_id="u")) as watch:
            await anext(watch)
            source.failure = failure
            with pytest.raises(told):
                await anext(watch)
        source.failure = None
        async with aclosing(watchers.watch("a", after=0, head=0, user_id="u")) as watch:
            source.counts["a"] = 1
            assert await sequences(watch, 1) == [1]
