"""What the service's role may do with Payment's tables: that, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from services.shared.ids import new_id

if TYPE_CHECKING:
    from tests.support.payment import RunningPayment

pytestmark = pytest.mark.shared

UPDATES = {
    "accounts": {
        *("posted", "held", "sequence", "head", "post_time", "debit", "credit"),
        *("velocity_time", "velocity_debit", "velocity_count"),
    },
    "alembic_version": set(),
    "audit_events": set(),
    "audit_origins": {"create_time"},
    "audit_positions": {"seal"},
    "audit_seals": set(),
    "checkpoint_heads": set(),
    "checkpoint_keys": {"state", "private_key_sealed"},
    "checkpoints": set(),
    "entries": set(),
    "holds": {"state", "captured", "payment_id", "end_time", "description"},
    "memos": set(),
    "payments": {"refunded", "refunding", "description"},
    "refunds": {"state", "rejection", "decide_time", "reason"},
    "transactions": set(),
    "wallet_state_changes": {"reason"},
    "wallets": {"state", "revision"},
}
"""Columns that may be updated."""
DELETED = {"audit_origins", "memos"}
"""Tables with personal texts, which are erased."""
READ_ONLY = {"alembic_version"}
OTHERS = {
    *("idempotency_records", "outbox", "received_events"),
    *("pgqueuer", "pgqueuer_log", "pgqueuer_schedules", "pgqueuer_statistics"),
    *("webhooks", "webhook_deliveries", "erasure_scans"),
}
"""Tables that are no record of money: the service does with them what it likes."""


async def test_the_service_may_change_what_it_must_and_nothing_else(payment: RunningPayment) -> None:
    columns = await payment.sql("""
        SELECT c.relname AS "table", a.attname AS "column",
            has_column_privilege('payment_app', c.oid, a.attnum, 'UPDATE') AS updates
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
    """)
    updates: dict[str, set[str]] = {row["table"]: set() for row in columns}
    for row in columns:
        if row["updates"]:
            updates[row["table"]].add(row["column"])
    assert {table: names for table, names in updates.items() if table not in OTHERS} == UPDATES
    assert updates.keys() == UPDATES.keys() | OTHERS, "a new table says here what may be done with it"
    for table in UPDATES:
        (may,) = await payment.sql(
            "SELECT has_table_privilege('payment_app', $1, 'INSERT') AS insert,"
            " has_table_privilege('payment_app', $1, 'DELETE') AS delete,"
            " has_table_privilege('payment_app', $1, 'TRUNCATE, REFERENCES, TRIGGER') AS other",
            table,
        )
        assert tuple(may) == (table not in READ_ONLY, table in DELETED, False), table


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE alembic_version SET version_num = '0001'",
        "UPDATE memos SET description = 'something else'",
        "UPDATE payments SET amount = amount + 1",
        "UPDATE payments SET refundable_until = now() + interval '1 year'",
        "UPDATE refunds SET amount = amount + 1",
        "UPDATE holds SET amount = amount + 1",
        "UPDATE wallets SET user_id = $1",
        "DELETE FROM payments",
        "DELETE FROM wallets",
        "ALTER TABLE entries DISABLE TRIGGER USER",
        "SET session_replication_role = replica",
        "CREATE TEMPORARY TABLE transactions (id uuid)",
        "SELECT lo_create(0)",
    ],
)
async def test_what_was_agreed_cannot_be_rewritten(payment: RunningPayment, forgery: str) -> None:
    await payment.rich(1000)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await payment.sql(forgery, *([new_id()] if "$1" in forgery else []), app=True)


async def test_functions_of_triggers_find_the_tables_of_their_schema_alone(payment: RunningPayment) -> None:
    functions = await payment.sql("""
        SELECT proname, proconfig FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND prorettype = 'trigger'::regtype AND proname !~ 'pgqueuer'
    """)
    assert len(functions) > 8
    for function in functions:
        assert "search_path=public, pg_temp" in (function["proconfig"] or ()), function["proname"]
