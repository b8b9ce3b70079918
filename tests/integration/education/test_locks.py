"""A row that stays locked costs the callers who need it time, and nobody else."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.support.education import lesson_ids
from tests.support.refusals import outcome
from tests.support.statistics import percentile

if TYPE_CHECKING:
    from tests.support.education import Person, RunningEducation

pytestmark = pytest.mark.alone
LOCKED_SECONDS = 6.0
MAX_SECONDS = 1.0
"""Of two calls of others: half of what one wait for the lock takes."""
HOT_CALLS = 40


async def test_a_row_locked_for_six_seconds_slows_its_owner_alone(education: RunningEducation) -> None:
    """Forty calls of one learner took all ten connections, and everybody waited for theirs."""
    course = await education.educator().published()
    owner, *others = [education.person() for _ in range(5)]
    enrollments = {person.id: (await person.enroll(course.id)).id for person in (owner, *others)}
    first, *_ = lesson_ids(course)
    latencies: list[float] = []

    async def study(person: Person, until: float) -> None:
        while (began := time.perf_counter()) < until:
            await person.complete(enrollments[person.id], first)
            await person.progress(enrollments[person.id])
            latencies.append(time.perf_counter() - began)

    connection = await asyncpg.connect(education.owner_url.replace("+asyncpg", ""))
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM enrollments WHERE id = $1 FOR UPDATE", enrollments[owner.id])
            began = time.perf_counter()
            calls = [
                asyncio.ensure_future(outcome(owner.complete(enrollments[owner.id], first))) for _ in range(HOT_CALLS)
            ]
            await asyncio.gather(*(study(person, began + LOCKED_SECONDS) for person in others))
            outcomes = set(await asyncio.gather(*calls))
    finally:
        await connection.close()
    assert percentile(latencies, 99) < MAX_SECONDS
    assert outcomes <= {"OVERLOADED", "DEADLINE_PASSED"}
    assert await outcome(owner.complete(enrollments[owner.id], first)) == "OK"
