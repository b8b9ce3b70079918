"""Locked accounts cost their own callers time, and nobody else. Times are ratios."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.ledgers import running_ledgers
from tests.support.statistics import percentile

if TYPE_CHECKING:
    from tests.support.ledgers import LedgerReplica, Ledgers
    from tests.support.postgres import Clone

pytestmark = pytest.mark.alone
CALLERS = 16
LOCKED_SECONDS = 6.0


async def load(ledgers: Ledgers, users: list[str], seconds: float) -> list[float]:
    """Pay from many wallets through both replicas; return how long each payment took."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def caller(one: LedgerReplica, number: int) -> None:
        while (began := time.perf_counter()) < end:
            await one.pay(users[number % len(users)])
            latencies.append(time.perf_counter() - began)
            number += 7

    await asyncio.gather(*(caller(one, number) for one in (ledgers.one, ledgers.two) for number in range(CALLERS // 2)))
    return latencies


async def test_three_wallets_locked_for_six_seconds_slow_down_nobody_else(payment_database: Clone) -> None:
    async with running_ledgers(payment_database) as ledgers:
        users = [await ledgers.rich(1_000_000) for _ in range(60)]
        locked, free = users[:3], users[3:]
        await load(ledgers, users, 1)
        before = await load(ledgers, free, 3)
        async with ledgers.connection() as connection, connection.transaction():
            await connection.execute(
                "SELECT FROM accounts WHERE owner_id IN (SELECT id FROM wallets WHERE user_id = ANY($1)) FOR UPDATE",
                locked,
            )
            calls = [
                asyncio.create_task(one.pay(user))
                for one in (ledgers.one, ledgers.two)
                for user in locked
                for _ in range(4)
            ]
            during = await load(ledgers, free, LOCKED_SECONDS)
            assert not any(call.done() for call in calls)
        await asyncio.gather(*calls)
        assert percentile(during, 99) < 2 * percentile(before, 99)
        assert len(during) / LOCKED_SECONDS > len(before) / 3 / 2
        await ledgers.sound()
