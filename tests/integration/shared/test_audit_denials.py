"""Denied calls of signed-in users: counted per user, RPC and minute."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from services.auth.settings import AuthSettings
from services.shared.audit.denials import FLUSH_SECONDS, MAX_COUNTED, MINUTE_SECONDS, Denials
from services.shared.db import Database, StatementFailed
from services.shared.ids import new_id
from services.shared.principal import Principal
from services.shared.tokens import STALE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone

ONE, OTHER = (Principal(user_id=new_id(), address="203.0.113.7") for _ in range(2))
EARN, REFUND = "/azora.payment.v1.PaymentService/Earn", "/azora.payment.v1.PaymentService/CreateRefund"


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
async def database(payment_database: Clone) -> AsyncIterator[Database]:
    database = Database(payment_database.app_url, pool_size=2)
    yield database
    await database.close()


async def _recorded(clone: Clone) -> list[tuple[str, str, int]]:
    async with clone.server.connection(clone.name) as connection:
        rows = await connection.fetch(
            "SELECT * FROM audit_events WHERE (action, outcome, reason) = ('access.call', 'DENIED', 'ACCESS_DENIED')"
        )
    return sorted((str(row["user_id"]), row["target"], row["count"]) for row in rows)


async def test_they_are_counted_per_user_rpc_and_minute(payment_database: Clone, database: Database) -> None:
    clock = Clock()
    denials = Denials(database=database, clock=clock)
    for principal, path in ((ONE, EARN), (ONE, EARN), (ONE, REFUND), (OTHER, EARN)):
        denials.count(principal, path)
    clock.seconds = 59
    await denials.flush()
    assert not await _recorded(payment_database), "the minute is not over"
    clock.seconds = 60
    await denials.flush()
    counted = [(ONE.user_id, EARN[1:], 2), (ONE.user_id, REFUND[1:], 1), (OTHER.user_id, EARN[1:], 1)]
    assert await _recorded(payment_database) == sorted(counted)
    denials.count(ONE, EARN)
    clock.seconds = 120
    await denials.flush()
    assert await _recorded(payment_database) == sorted([*counted, (ONE.user_id, EARN[1:], 1)])


async def test_a_process_that_ends_records_what_it_has_counted(payment_database: Clone, database: Database) -> None:
    denials = Denials(database=database)
    running = asyncio.create_task(denials.run())
    await asyncio.to_thread(lambda: None)
    denials.count(ONE, EARN)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await _recorded(payment_database) == [(ONE.user_id, EARN[1:], 1)]


async def test_what_could_not_be_recorded_is_recorded_later(payment_database: Clone, database: Database) -> None:
    denials = Denials(database=database)
    denials.count(ONE, EARN)
    async with payment_database.server.connection(payment_database.name) as connection:
        await connection.execute("ALTER TABLE audit_events RENAME TO elsewhere")
        with pytest.raises(StatementFailed):
            await denials.flush(everything=True)
        await connection.execute("ALTER TABLE elsewhere RENAME TO audit_events")
    denials.count(ONE, EARN)
    await denials.flush(everything=True)
    assert await _recorded(payment_database) == [(ONE.user_id, EARN[1:], 2)]


async def test_the_number_of_counts_is_bounded(payment_database: Clone, database: Database) -> None:
    denials = Denials(database=database)
    for number in range(MAX_COUNTED + 5):
        denials.count(ONE, f"/{number}")
    await denials.flush(everything=True)
    assert len(await _recorded(payment_database)) == MAX_COUNTED


def test_an_erasure_begins_after_the_last_denial_was_recorded() -> None:
    """Denials are counted while access tokens are accepted, and recorded with the address a minute later."""
    delay_seconds = AuthSettings.model_fields["erasure_delay_seconds"].default
    assert delay_seconds >= MINUTE_SECONDS + FLUSH_SECONDS + STALE_SECONDS
