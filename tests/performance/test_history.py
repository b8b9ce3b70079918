"""What a long history costs: pages that take no longer, statements that take no memory."""

from __future__ import annotations

import asyncio
import resource
import statistics
import time
from typing import TYPE_CHECKING

import pytest
from azora.payment.v1 import wallet_pb2, wallet_service_pb2

from tests.support.payment import running_payment

if TYPE_CHECKING:
    from tests.support.payment import Person
    from tests.support.postgres import Clone

ENTRIES = 50_000
LONG_HISTORY = f"""
ALTER TABLE transactions DISABLE TRIGGER USER;
ALTER TABLE entries DISABLE TRIGGER USER;
ALTER TABLE accounts DISABLE TRIGGER USER;
INSERT INTO transactions (id, type, reference_owner, reference, legs)
    SELECT gen_random_uuid(), 'EARN', 'administrators', 'history:' || n, 2 FROM generate_series(11, {ENTRIES}) AS n;
INSERT INTO entries (account_id, sequence, transaction_id, currency, amount, balance_after, create_time, hash)
    SELECT accounts.id, split_part(reference, ':', 2)::int, posted.id, 'AZR', 1,
        split_part(reference, ':', 2)::int, now() + split_part(reference, ':', 2)::int * interval '1 microsecond',
        accounts.head
    FROM wallets, accounts, transactions posted
    WHERE reference LIKE 'history:%' AND accounts.owner_id = wallets.id AND wallets.user_id = $1;
UPDATE accounts SET sequence = {ENTRIES}, posted = {ENTRIES} FROM wallets
    WHERE accounts.owner_id = wallets.id AND wallets.user_id = $1;
ANALYZE
"""  # noqa: S608 - of a constant


@pytest.mark.alone
async def test_a_long_history_is_read_like_a_short_one(payment_database: Clone) -> None:
    async with running_payment(payment_database.app_url, payment_database.owner_url) as payment:
        short, long = await payment.rich(1), await payment.rich(1)
        for person in (short, long):
            for _ in range(9):
                await payment.earn(person, 1)
        for statement in LONG_HISTORY.split(";\n"):
            await payment.sql(statement, *([long.id] if "$1" in statement else []))

        timed: dict[str, list[float]] = {short.id: [], long.id: []}
        for _ in range(200):
            for person in (short, long):
                timed[person.id].append(await _timed(person))
        ratio = statistics.median(timed[long.id]) / statistics.median(timed[short.id])
        assert ratio < 1.5, f"{ratio:.2f}"

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert await _exported_lines(long) == ENTRIES + 3
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown_kib < 16 * 1024


async def _timed(person: Person) -> float:
    began = time.perf_counter()
    page = await person.transactions(page_size=10)
    assert len(page.transactions) == 10
    return time.perf_counter() - began


async def _exported_lines(person: Person) -> int:
    """Export a statement as CSV, without keeping it; return how many lines it has."""
    request = wallet_service_pb2.ExportStatementRequest(format=wallet_pb2.STATEMENT_FORMAT_CSV)
    lines = 0
    async with asyncio.timeout(300):
        async for chunk in person.payment.wallets.ExportStatement(request, metadata=person.metadata):
            lines += chunk.data.count(b"\n")
    return lines
