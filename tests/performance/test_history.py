"""What a long history costs: pages that take no longer, statements that take no memory."""

from __future__ import annotations

import asyncio
import resource
import statistics
import time
from typing import TYPE_CHECKING

import pytest
from azora.payment.v1 import wallet_pb2, wallet_service_pb2

from tests.support.histories import lengthen
from tests.support.payment import running_payment

if TYPE_CHECKING:
    from tests.support.payment import Person
    from tests.support.postgres import Clone

ENTRIES = 50_000


@pytest.mark.alone
async def test_a_long_history_is_read_like_a_short_one(payment_database: Clone) -> None:
    async with running_payment(payment_database.app_url, payment_database.owner_url) as payment:
        short, long = await payment.rich(1), await payment.rich(1)
        for person in (short, long):
            for _ in range(9):
                await payment.earn(person, 1)
        await lengthen(payment, long, ENTRIES)

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
