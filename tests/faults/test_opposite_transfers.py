"""Transfers in opposite directions between few wallets, on two replicas: no deadlock reaches a client.

`pytest tests/faults --seconds 30` keeps them up for so long.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

from services.shared.ids import new_id
from tests.support.payment import Person, running_payment
from tests.support.refusals import outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import pytest

    from tests.support.postgres import Clone

WORKERS, WALLETS = 32, 6
FUNDS = 100_000
BATCH = 20
ASKED_AGAIN = ("DEADLINE_PASSED", "DEPENDENCY_UNAVAILABLE", "OVERLOADED")
"""Answers of a machine that is too slow for the load: a deadlock is none of them."""


async def transfers(people: Sequence[Person], chance: random.Random, until: float) -> Counter[str]:
    """Transfer between two people at random, now and then to many; return how often calls ended in each way."""
    outcomes: Counter[str] = Counter()
    while time.monotonic() < until:
        payer, *others = chance.sample(people, len(people))
        key = new_id()
        if chance.random() < 1 / 8:
            targets = [(chance.choice(others), 1) for _ in range(BATCH)]
            outcomes[await known(lambda: payer.transfer_to_many(*targets, key=key))] += 1  # noqa: B023 - awaited here
        else:
            minor = chance.randint(1, 50)
            outcomes[await known(lambda: payer.transfer(others[0], minor, key=key))] += 1  # noqa: B023
    return outcomes


async def known(send: Callable[[], Awaitable[object]]) -> str:
    """Send a call, on a busy machine again under its key, until it is known how it ended."""
    while (ended := await outcome(send())) in ASKED_AGAIN:
        pass
    return ended


async def test_opposite_transfers_on_two_replicas_show_no_deadlock(
    payment_database: Clone, request: pytest.FixtureRequest
) -> None:
    urls = payment_database.app_url, payment_database.owner_url
    chance = random.Random(2026)  # noqa: S311 - a load
    async with running_payment(*urls) as one, running_payment(*urls, signer=one.signer) as two:
        people = [await one.rich(FUNDS) for _ in range(WALLETS)]
        elsewhere = [Person(person.id, person.metadata, two) for person in people]
        until = time.monotonic() + request.config.getoption("seconds")
        workers = (transfers(elsewhere if number % 2 else people, chance, until) for number in range(WORKERS))
        outcomes = sum(await asyncio.gather(*workers), Counter())
        assert set(outcomes) == {"OK"}
        assert outcomes["OK"] > WORKERS
        balances = [await person.balance() for person in people]
        assert sum(posted for posted, _, _ in balances) == WALLETS * FUNDS
        assert (await one.trial_balance()).balanced
        (row,) = await one.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        assert row["deadlocks"] == 0
