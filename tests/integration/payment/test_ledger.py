"""The proofs of the ledger, and what the database itself refuses."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from azora.payment.v1 import ledger_service_pb2 as pb
from azora.payment.v1 import ledger_service_pb2_grpc

from services.shared.ids import new_id
from tests.support.payment import RunningPayment, azr
from tests.support.refusals import refusal
from tests.support.waiting import eventually


async def test_an_empty_ledger_balances(payment: RunningPayment) -> None:
    assert await payment.trial_balance() == pb.TrialBalanceResponse(balanced=True)


async def test_the_trial_balance_adds_up(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    await person.refund((await person.pay(300)).id, azr(100))
    trial = await payment.trial_balance()
    assert list(trial.currencies) == [pb.CurrencyTotal(currency="AZR", debit=1400, credit=1400, total=0)]


async def test_the_trial_balance_is_for_administrators(payment: RunningPayment) -> None:
    stub = ledger_service_pb2_grpc.LedgerServiceStub(payment.channel)
    student = payment.person()
    refused = await refusal(stub.TrialBalance(pb.TrialBalanceRequest(), metadata=student.metadata))
    assert refused.reason == "ACCESS_DENIED"


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE accounts SET posted = posted + 1 WHERE kind = 'WALLET'",
        "UPDATE accounts SET sequence = sequence + 1 WHERE kind = 'TREASURY'",
        "UPDATE entries SET amount = amount + 1 WHERE amount > 0",
        "DELETE FROM entries",
    ],
)
async def test_the_trial_balance_finds_what_was_changed_by_hand(payment: RunningPayment, tampering: str) -> None:
    await payment.rich(1000)
    await payment.sql("ALTER TABLE entries DISABLE TRIGGER USER")
    await payment.sql(tampering)
    assert not (await payment.trial_balance()).balanced


@pytest.mark.parametrize("table", ["entries", "transactions"])
@pytest.mark.parametrize("change", ["UPDATE {} SET id = id", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
async def test_the_ledger_is_append_only(payment: RunningPayment, table: str, change: str) -> None:
    await payment.rich(1000)
    statement = change.format(table).replace(
        "id = id", "transaction_id = transaction_id" if table == "entries" else "id = id"
    )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await payment.sql(statement, app=True)
    with pytest.raises(asyncpg.RestrictViolationError):
        await payment.sql(statement)
    assert (await payment.trial_balance()).balanced


@pytest.mark.parametrize("change", ["DELETE FROM accounts", "UPDATE accounts SET kind = 'TREASURY'"])
async def test_accounts_stay_what_they_are(payment: RunningPayment, change: str) -> None:
    await payment.rich(1000)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await payment.sql(change, app=True)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE payments SET amount = amount + 1",
        "DELETE FROM payments",
        "UPDATE holds SET amount = amount + 1",
        "DELETE FROM holds",
        "UPDATE refunds SET amount = amount + 1",
        "UPDATE wallets SET user_id = id",
        "DELETE FROM wallets",
        "UPDATE memos SET description = ''",
        "UPDATE alembic_version SET version_num = '0001'",
    ],
)
async def test_the_services_role_changes_no_more_than_it_needs(payment: RunningPayment, change: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await payment.sql(change, app=True)


@pytest.mark.parametrize(
    "change",
    [
        "SET posted = posted + 1",
        "SET posted = posted + 1, credit = credit + 1",
        "SET sequence = sequence + 1",
        "SET head = sha256(head)",
        "SET debit = debit + 1",
    ],
)
async def test_the_database_refuses_an_account_that_disagrees_with_its_last_entry(
    payment: RunningPayment, change: str
) -> None:
    await payment.rich(1000)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await payment.sql(f"UPDATE accounts {change} WHERE kind = 'WALLET'", app=True)
    assert (await payment.trial_balance()).balanced


async def test_accounts_have_the_state_of_their_wallet(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    await payment.sql("UPDATE wallets SET state = 'FROZEN'", app=True)
    assert [row["state"] for row in await payment.sql("SELECT state FROM accounts WHERE kind = 'WALLET'")] == ["FROZEN"]
    opened = (
        "INSERT INTO accounts (id, kind, owner_id, currency, state)"
        " SELECT gen_random_uuid(), 'WALLET', $1, 'ZAR', 'ACTIVE'"
    )
    with pytest.raises(asyncpg.SerializationError):
        await payment.sql(opened, (await person.wallet()).id)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await payment.sql(opened, new_id())


async def test_the_database_refuses_transactions_that_do_not_balance(payment: RunningPayment) -> None:
    await payment.rich(1000)
    one_leg = """
        WITH new AS (
            INSERT INTO transactions (id, type, reference_owner, reference, legs)
            VALUES ($1, 'EARN', 'education', 'forged', 2) RETURNING id
        )
        INSERT INTO entries
        SELECT accounts.id, 2, new.id, currency, 5, posted + 5, now(), head FROM accounts, new WHERE kind = 'WALLET'
    """
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await payment.sql(one_leg, new_id(), app=True)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await payment.sql("INSERT INTO transactions (id, type, legs) VALUES ($1, 'PAYMENT', 2)", new_id(), app=True)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await payment.sql(
            "INSERT INTO entries (account_id, sequence, transaction_id, currency, amount, balance_after, create_time,"
            " hash) SELECT account_id, 2, transaction_id, currency, amount, 2 * amount, create_time, hash FROM entries",
            app=True,
        )
    assert (await payment.trial_balance()).balanced


@pytest.mark.parametrize(
    "overdraft", ["SET posted = -1", "SET held = posted + 1", "SET held = -1", "SET posted = 0, held = 1"]
)
async def test_the_database_refuses_a_wallet_that_owes(payment: RunningPayment, overdraft: str) -> None:
    await payment.rich(1000)
    with pytest.raises(asyncpg.CheckViolationError):
        await payment.sql(f"UPDATE accounts {overdraft} WHERE kind = 'WALLET'", app=True)


async def test_time_and_sequence_are_one_order(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    slow = await asyncpg.connect(payment.owner_url.replace("+asyncpg", ""))
    async with slow.transaction():
        await slow.execute("SELECT FROM accounts WHERE kind = 'WALLET' FOR UPDATE")
        payments = [asyncio.create_task(person.pay(10)) for _ in range(6)]

        async def waiting() -> bool:
            (row,) = await payment.sql("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
            return int(row[0]) > 0

        await eventually(waiting)
        (released,) = await payment.sql("SELECT clock_timestamp()")
    await slow.close()
    paid = await asyncio.gather(*payments)
    times = await payment.sql(
        "SELECT t.create_time, t.create_time >= lag(t.create_time) OVER (ORDER BY e.sequence) AS ordered"
        " FROM entries e JOIN transactions t ON t.id = e.transaction_id JOIN accounts a ON a.id = e.account_id"
        " WHERE a.kind = 'WALLET' ORDER BY e.sequence"
    )
    assert all(row["ordered"] for row in times[1:])
    assert all(row["create_time"] > released[0] for row in times[1:]), "the clock is read under the lock"
    assert all(payment_.create_time.ToDatetime() > released[0].replace(tzinfo=None) for payment_ in paid)


async def test_an_accounts_time_never_runs_back(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    await payment.sql("UPDATE accounts SET post_time = now() + interval '1 hour' WHERE kind = 'WALLET'")
    paid = await person.pay(10)
    (row,) = await payment.sql(
        "SELECT t.create_time = a.post_time AS same, t.create_time > now() + interval '50 minutes' AS later"
        " FROM transactions t, accounts a WHERE t.type = 'PAYMENT' AND a.kind = 'WALLET'"
    )
    assert (row["same"], row["later"]) == (True, True)
    assert (paid.refundable_until.ToDatetime() - paid.create_time.ToDatetime()).days == 14
