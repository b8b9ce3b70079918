"""Wallets as they were: at any time of the past what one would have read then, the same whenever it is asked."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from azora.payment.v1 import wallet_pb2
from azora.payment.v1 import wallet_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from services.payment.ledger import session
from services.payment.wallets.store import READ_PAST, WalletStore
from services.shared.convert import timestamp
from services.shared.ids import new_id
from tests.support.ledgers import SESSIONS, Ledgers
from tests.support.plans import explain
from tests.support.refusals import refusal
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.payment import Person, RunningPayment

BACK = """
ALTER TABLE entries DISABLE TRIGGER USER;
ALTER TABLE holds DISABLE TRIGGER USER;
ALTER TABLE wallets DISABLE TRIGGER USER;
ALTER TABLE wallet_state_changes DISABLE TRIGGER USER;
UPDATE entries SET create_time = create_time - interval '1 hour';
UPDATE holds SET create_time = create_time - interval '1 hour', end_time = end_time - interval '1 hour',
    expire_time = expire_time - interval '1 hour';
UPDATE wallets SET create_time = create_time - interval '1 hour';
UPDATE wallet_state_changes SET change_time = change_time - interval '1 hour';
"""
HOUR = timedelta(hours=1)


async def age(payment: RunningPayment) -> None:
    """Let an hour pass over all that was done so far."""
    for statement in BACK.split(";\n")[:-1]:
        await payment.sql(statement)


def at(who: Person, moment: datetime, wallet_id: str = "") -> Any:
    """Read a wallet as of a time."""
    request = pb.GetWalletRequest(wallet_id=wallet_id, read_time=timestamp(moment))
    return who.payment.wallets.GetWallet(request, metadata=who.metadata)


async def now(payment: RunningPayment) -> datetime:
    """Return the database's time."""
    (row,) = await payment.sql("SELECT clock_timestamp()")
    moment: datetime = row[0]
    return moment


async def test_a_past_wallet_is_what_was_read_then(payment: RunningPayment) -> None:
    person, admin = payment.person(), payment.admin()
    seen: list[tuple[datetime, wallet_pb2.Wallet]] = []

    async def look() -> None:
        seen.append((await now(payment), await person.wallet()))

    await payment.earn(person, 1000)
    await look()
    held = await person.hold(100)
    await look()
    spare = await person.hold(30)
    await look()
    for _ in range(7):
        await person.pay(10)
        await look()
    await person.capture(held.id)
    await look()
    await person.release(spare.id)
    await look()
    wallet_id = (await person.wallet()).id
    await payment.wallets.FreezeWallet(
        pb.FreezeWalletRequest(wallet_id=wallet_id, reason="why"), metadata=admin.metadata
    )
    await look()
    await payment.earn(person, 5)
    await look()
    await age(payment)
    await payment.earn(person, 7)

    for moment, wallet in seen:
        past = (await at(person, moment - HOUR)).wallet
        wallet.create_time.CopyFrom(past.create_time)
        assert past == wallet
    last = (await at(admin, seen[-1][0] - HOUR, wallet_id)).wallet
    assert (last.state, last.last_state_change.reason) == (wallet_pb2.WALLET_STATE_FROZEN, "why")
    assert not (await at(admin, seen[0][0] - HOUR, wallet_id)).wallet.HasField("last_state_change")


async def test_a_hold_ends_at_its_expiry_whether_or_not_anyone_noticed(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    held = await person.hold(100)
    created = await now(payment)
    await age(payment)
    assert (await at(person, created - HOUR)).wallet.balances[0].held == 100
    expired = held.expire_time.ToDatetime(tzinfo=UTC) - HOUR
    for _ in range(2):
        assert (await at(person, expired - timedelta(microseconds=1))).wallet.balances[0].held == 100
        assert (await at(person, expired)).wallet.balances[0].held == 0
        await person.pay(1)  # Which notes the expiry.


async def test_before_it_was_opened_ones_own_wallet_is_empty_and_a_named_one_is_not_there(
    payment: RunningPayment,
) -> None:
    person, admin, nobody = await payment.rich(1000), payment.admin(), payment.person()
    wallet_id = (await person.wallet()).id
    before = await now(payment) - 2 * HOUR
    nothing = wallet_pb2.Wallet(state=wallet_pb2.WALLET_STATE_ACTIVE, balances=[wallet_pb2.Balance(currency="AZR")])
    for who in (person, nobody):
        assert (await at(who, before)).wallet == nothing
    assert (await at(person, datetime(1970, 1, 1, tzinfo=UTC))).wallet == nothing
    for named in (wallet_id, new_id()):
        refused = await refusal(at(admin, before, named))
        assert (refused.code, refused.reason) == ("NOT_FOUND", "WALLET_NOT_FOUND")


@pytest.mark.parametrize("seconds", [-3600, 0, 4.5])
async def test_what_can_still_change_is_not_told(payment: RunningPayment, seconds: float) -> None:
    person, nobody = await payment.rich(1000), payment.person()
    for who in (person, nobody):
        refused = await refusal(at(who, await now(payment) - timedelta(seconds=seconds)))
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "READ_TIME_TOO_RECENT")
        assert refused.fields == ("readTime",)
    assert (await at(person, await now(payment) - timedelta(seconds=5))).wallet.balances[0].posted == 0


async def test_a_transaction_that_takes_longer_than_that_is_waited_for(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("STATEMENT_TIMEOUT_SECONDS", "COMMAND_TIMEOUT_SECONDS", "TRANSACTION_TIMEOUT_SECONDS"):
        monkeypatch.setattr(session, name, 60)  # As for a COMMIT on a disk that stalls, which no timeout ends.
    user, store = await ledgers.rich(1000), WalletStore()

    async def read(moment: datetime) -> int:
        async with ledgers.two.database.reading() as connection:
            past, settled = await store.find_past_wallet(connection, read_time=moment, user_id=user)
        assert settled
        assert past is not None
        return past.balances[0].posted_minor

    async def readable() -> datetime | None:
        """Return a time that may be read, once the payment is older."""
        moment = "clock_timestamp() - interval '5 seconds'"
        rows = await ledgers.sql(
            f"SELECT {moment} FROM (SELECT query_start, {SESSIONS} AND wait_event_type = 'Lock') AS writing"  # noqa: S608
            f" WHERE query_start < {moment}",
            app=True,
        )
        return rows[0][0] if rows else None

    async def read_or_waiting() -> bool:
        waiting = "SELECT FROM pg_locks WHERE NOT granted AND pid NOT IN (SELECT {})"
        return reading.done() or bool(await ledgers.sql(waiting.format(SESSIONS)))

    async with ledgers.stalled():
        paying = asyncio.create_task(ledgers.one.pay(user))
        await eventually(ledgers.waiting)
        moment = await eventually(readable)
        assert moment is not None
        reading = asyncio.create_task(read(moment))
        await eventually(read_or_waiting)
    await paying
    assert (await reading, await read(moment)) == (999, 999)


@pytest.mark.parametrize(
    "invalid", [Timestamp(seconds=-1), Timestamp(seconds=253402300800), Timestamp(seconds=1, nanos=-1)]
)
async def test_a_time_that_is_none_is_refused(payment: RunningPayment, invalid: Timestamp) -> None:
    person = await payment.rich(1000)
    request = pb.GetWalletRequest(read_time=invalid)
    refused = await refusal(payment.wallets.GetWallet(request, metadata=person.metadata))
    assert (refused.code, refused.fields) == ("INVALID_ARGUMENT", ("readTime",))


LONG_HISTORY = """
ALTER TABLE entries DISABLE TRIGGER USER;
INSERT INTO entries (account_id, sequence, transaction_id, currency, amount, balance_after, create_time, hash)
    SELECT accounts.id, 1 + n, gen_random_uuid(), 'AZR', 1, 1000 + n,
        now() - interval '1 day' + n * interval '1 s', head
    FROM accounts, generate_series(1, 65000) AS n WHERE kind = 'WALLET';
UPDATE entries SET create_time = now() - interval '2 days' WHERE sequence = 1;
UPDATE accounts SET sequence = 65001 WHERE kind = 'WALLET';
UPDATE wallets SET create_time = now() - interval '2 days';
INSERT INTO holds (id, wallet_id, account_id, state, type, amount, currency, description, expire_time, create_time,
    end_time)
    SELECT gen_random_uuid(), owner_id, id, 'RELEASED', 'DONATION', 1, 'AZR', '', now(), now() - n * interval '1 hour',
        now() - n * interval '1 hour'
    FROM accounts, generate_series(1, 20000) AS n WHERE kind = 'WALLET';
"""


async def test_a_past_balance_reads_no_more_with_a_long_history(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    for statement in LONG_HISTORY.split(";\n")[:-1]:
        await payment.sql(statement)
    await payment.sql("ANALYZE")
    moment = await now(payment) - timedelta(hours=12)
    (row,) = await payment.sql(
        "SELECT balance_after FROM entries WHERE amount = 1 AND create_time <= $1 ORDER BY sequence DESC LIMIT 1",
        moment,
    )
    assert (await at(person, moment)).wallet.balances[0].posted == row[0]
    values = {"user_id": person.id, "wallet_id": None, "read_time": moment}
    plan = await explain(payment.owner_url, READ_PAST, values)
    assert plan.rows_read <= 400, "a bisection's steps, and the holds of a week"
