"""Reads that do not grow with a wallet's history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.payment.proofs.store import ProofStore
from services.payment.transactions.store import LIST
from services.shared.money import INT64_MAX
from services.shared.pagination import PageRequest
from tests.support.payment import running_payment
from tests.support.plans import explain, explain_list
from tests.support.statements import recorded_statements

if TYPE_CHECKING:
    from tests.support.payment import RunningPayment
    from tests.support.postgres import Clone

# Triggers that prove what the service writes are of no use to rows that are written here by hand.
LONG_HISTORY = """
ALTER TABLE transactions DISABLE TRIGGER USER;
ALTER TABLE entries DISABLE TRIGGER USER;
INSERT INTO transactions (id, type, reference_owner, reference, legs)
    SELECT gen_random_uuid(), 'EARN', 'administrators', 'history:' || n, 2 FROM generate_series(1, 20000) AS n;
INSERT INTO entries (account_id, sequence, transaction_id, currency, amount, balance_after, create_time, hash)
    SELECT accounts.id, 1 + numbered.n, numbered.id, 'AZR', 1, 1, now(), accounts.head
    FROM accounts, (SELECT id, row_number() OVER () AS n FROM transactions WHERE reference LIKE 'history:%') AS numbered
    WHERE accounts.kind = 'WALLET';
"""
MANY_CHECKPOINTS = """
WITH made AS (
    INSERT INTO checkpoint_keys (id, state, verifier) VALUES (gen_random_uuid(), 'RETIRED', 'x') RETURNING id
)
INSERT INTO checkpoints (number, key_id, note, create_time)
SELECT n, made.id, 'note', now() FROM made, generate_series(1000, 6000) AS n
"""


async def test_a_page_of_history_reads_no_more_than_it_shows(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    for statement in LONG_HISTORY.split(";\n")[:-1]:
        await payment.sql(statement)
    values = {"user_id": person.id, "currency": "AZR", "before": INT64_MAX, "count": 21}
    plan = await explain(payment.owner_url, LIST, values)
    assert not plan.sorts
    assert plan.rows_read <= 21


@pytest.mark.parametrize("selected", ["", "account", "transaction"])
async def test_a_page_of_entries_reads_no_more_than_it_shows(payment: RunningPayment, selected: str) -> None:
    await payment.rich(100)
    for statement in LONG_HISTORY.split(";\n")[:-1]:
        await payment.sql(statement)
    ((account_id, transaction_id),) = await payment.sql(
        "SELECT account_id::text, transaction_id::text FROM entries WHERE amount = 1 LIMIT 1"
    )
    values = {
        "account_id": account_id if selected == "account" else "",
        "transaction_id": transaction_id if selected == "transaction" else "",
    }

    async def read(connection: Any) -> None:
        await ProofStore().list_newest_entries(connection, PageRequest(20, None, str), **values)

    plan = await explain_list(payment.owner_url, read)
    assert not plan.sorts
    assert plan.rows_read <= 21


async def test_a_page_of_checkpoints_reads_no_more_than_it_shows(payment: RunningPayment) -> None:
    await payment.sql(MANY_CHECKPOINTS)

    async def read(connection: Any) -> None:
        await ProofStore().list_newest_checkpoints(connection, before=INT64_MAX, limit=21)

    plan = await explain_list(payment.owner_url, read)
    assert not plan.sorts
    assert plan.rows_read <= 21


async def test_a_wallet_is_read_in_one_prebuilt_statement(payment_database: Clone) -> None:
    with recorded_statements() as statements:
        async with running_payment(payment_database.app_url, payment_database.owner_url) as payment:
            person = await payment.rich(100)
            for _ in range(3):  # The first ones compile it and fill memories.
                await person.wallet()
            assert len(await statements.prebuilt("GetWallet")) == 1
