"""What a busy ledger commits together: also the commands that are on their way, and those for a moment only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.payment.ledger import writer
from tests.support.ledgers import replica

if TYPE_CHECKING:
    import pytest

    from tests.support.ledgers import Ledgers

CALLERS = 12


async def test_after_a_busy_group_commands_that_are_on_their_way_join_the_next(ledgers: Ledgers) -> None:
    user = await ledgers.rich()

    async def pay_twice(passes: int) -> None:
        await ledgers.one.pay(user)
        await _pass(passes)
        await ledgers.one.pay(user)

    await asyncio.gather(*(pay_twice(number) for number in range(CALLERS)))
    assert await _groups(ledgers) == 2
    await ledgers.sound()


async def test_commands_that_keep_coming_hold_a_group_up_for_a_moment_only(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_GATHERING_SECONDS", 0.001)
    user, paid = await ledgers.rich(), asyncio.Event()

    async def pay() -> None:
        await ledgers.one.pay(user)
        paid.set()

    await asyncio.gather(*(ledgers.one.pay(user) for _ in range(CALLERS)))
    calls = [asyncio.create_task(pay())]
    while not paid.is_set() and len(calls) < writer.MAX_GROUP:
        await _pass(writer.IDLE_PASSES // 2)
        calls.append(asyncio.create_task(pay()))
    assert paid.is_set()
    await asyncio.gather(*calls)


async def test_a_full_group_does_not_wait_for_more(ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_GROUP", CALLERS)
    monkeypatch.setattr(writer, "MAX_GATHERING_SECONDS", 60)
    user = await ledgers.rich()
    one = replica(ledgers.clone.app_url)
    coming = True

    async def keep_coming() -> None:
        while coming:
            await _pass(writer.IDLE_PASSES // 2)
            calls.append(asyncio.create_task(one.pay(user)))

    calls = [asyncio.create_task(one.pay(user)) for _ in range(2 * CALLERS)]
    others = asyncio.create_task(keep_coming())
    try:
        await asyncio.wait_for(asyncio.gather(*calls[: 2 * CALLERS]), 10)
    finally:
        coming = False
        await others
        await asyncio.gather(*calls)
        await one.database.close()


async def _pass(times: int) -> None:
    """Let the event loop pass so many times."""
    loop = asyncio.get_running_loop()
    for _ in range(times):
        passed = loop.create_future()
        loop.call_soon(passed.set_result, None)
        await passed


async def _groups(ledgers: Ledgers) -> int:
    (row,) = await ledgers.sql("SELECT count(DISTINCT xmin::text) FROM transactions WHERE type = 'PAYMENT'")
    groups: int = row[0]
    return groups
