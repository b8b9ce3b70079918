"""What the connections of a writer do to its commands when the database does not answer on them."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from services.shared.errors import DependencyUnavailable
from tests.support.ledgers import SESSIONS
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.ledgers import Ledgers

DEADLINE_SECONDS = 5
"""Of calls that move money."""


async def test_a_backend_that_freezes_costs_nobody_more_than_a_deadline(ledgers: Ledgers) -> None:
    user, other = await ledgers.rich(), await ledgers.rich()
    async with ledgers.stalled():
        call = asyncio.create_task(ledgers.one.pay(user, key="k"))
        await eventually(ledgers.waiting)
        (backend,) = await ledgers.sql(f"SELECT {SESSIONS} AND wait_event_type = 'Lock'", app=True)
        os.kill(backend["pid"], signal.SIGSTOP)
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await ledgers.one.pay(other)
            with pytest.raises(DependencyUnavailable):
                await call
    finally:
        os.kill(backend["pid"], signal.SIGCONT)
    await ledgers.one.pay(user, key="k")
    assert (await ledgers.posted(user), await ledgers.posted(other)) == (999, 999)


async def test_a_connection_lost_before_anything_was_written_costs_no_command(ledgers: Ledgers) -> None:
    user = await ledgers.rich()  # By the same connection, which has written before.
    async with ledgers.stalled("LOCK TABLE wallets IN ACCESS EXCLUSIVE MODE"):
        call = asyncio.create_task(ledgers.one.pay(user))
        await eventually(ledgers.waiting)
        await ledgers.terminate()
    await call
    assert await ledgers.posted(user) == 999
