"""What the export of a long history costs: no more memory than a page, and no other call waits for it."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from services.shared.personal_data import CHUNK_BYTES
from tests.support.histories import MADE, lengthen
from tests.support.payment import running_payment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.payment import RunningPayment
    from tests.support.postgres import Clone

ENTRIES = EVENTS = 25_000
RECORD = f"""
INSERT INTO audit_events (id, action, outcome, reason, user_id, service, target, count, trace_id, create_time)
    SELECT gen_random_uuid(), 'a', 'SUCCEEDED', '', CASE WHEN n % 2 = 0 THEN $1::uuid END, '', 'users/' || $2, 1, '',
        now() - interval '1 day' + n / 3 * interval '1 second'
    FROM generate_series(1, {EVENTS}) AS n
"""  # noqa: S608 - of a constant


@asynccontextmanager
async def blocked() -> AsyncIterator[list[float]]:
    """Give how long the loop was busy at a time, at most: in CPU seconds, of which other processes take none."""
    longest, loop, over = [0.0], asyncio.get_running_loop(), asyncio.Event()

    def watch(before: float) -> None:
        now = time.thread_time()
        longest[0] = max(longest[0], now - before)
        if not over.is_set():
            loop.call_soon(watch, now)

    gc.collect()
    gc.freeze()  # A collection looks at what the export makes, and not at all that tests have imported.
    watch(time.thread_time())
    try:
        yield longest
    finally:
        over.set()
        gc.unfreeze()


async def exported(payment: RunningPayment, user_id: str) -> AsyncIterator[bytes]:
    async for part in payment.replica.persons.export_person(user_id=user_id):
        assert len(part) <= CHUNK_BYTES
        yield part


@pytest.mark.alone
async def test_an_export_of_a_long_history_is_read_in_pages(payment_database: Clone) -> None:
    async with running_payment(payment_database.app_url, payment_database.owner_url) as payment:
        person = await payment.rich(1)
        for _ in range(MADE - 1):
            await payment.earn(person, 1)
        # What is made once is no part of what a long history costs.
        assert [part async for part in exported(payment, person.id)]
        await lengthen(payment, person, ENTRIES)
        await payment.sql(RECORD, person.id, person.id)

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = 0
        async with blocked() as longest:
            async for part in exported(payment, person.id):
                size += len(part)
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert longest[0] < 0.05
        assert grown_kib < 8 * 1024
        assert size > 8 * 1024 * 1024

        document = json.loads(b"".join([part async for part in exported(payment, person.id)]))
        transactions, events = document["transactions"], document["auditEvents"]
        assert len({entry["id"] for entry in transactions}) == len(transactions) == ENTRIES
        assert [int(entry["balanceAfter"]) for entry in transactions] == list(range(1, ENTRIES + 1))
        places = [(event["createTime"], event["id"]) for event in events]
        assert len(set(places)) == EVENTS
        assert places == sorted(places)
