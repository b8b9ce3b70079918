"""What many open watches cost a process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psutil
from azora.education.v1 import enrollment_service_pb2

from tests.support.education import lesson_ids, running_education

if TYPE_CHECKING:
    from tests.support.postgres import Clone

WATCHES, LEARNERS = 1000, 50
MAX_GROWN_MEBIBYTES = 100
MAX_SECONDS = 120


async def test_a_thousand_watches_of_progress_add_little_memory(education_database: Clone) -> None:
    """Those of the clients included, which are in the same process here."""
    urls = education_database.app_url, education_database.owner_url
    async with running_education(*urls, max_watchers_per_user=WATCHES) as education:
        course = await education.educator().published()
        learners = [education.person() for _ in range(LEARNERS)]
        enrolled = [await learner.enroll(course.id) for learner in learners]
        before = psutil.Process().memory_info().rss
        watches: list[Any] = []
        for number in range(WATCHES):
            place = number % LEARNERS
            request = enrollment_service_pb2.WatchProgressRequest(enrollment_id=enrolled[place].id)
            watches.append(education.enrollments.WatchProgress(request, metadata=learners[place].metadata))
        async with asyncio.timeout(MAX_SECONDS):
            for _ in range(2):  # The state, and the first heartbeat.
                await asyncio.gather(*(watch.read() for watch in watches))
            changes = asyncio.gather(*(watch.read() for watch in watches))
            for learner, enrollment in zip(learners, enrolled, strict=True):
                await learner.complete(enrollment.id, lesson_ids(course)[0])
            seen = await changes
        assert {message.snapshot.progress.completed_lessons for message in seen} <= {0, 1}
        grown_mebibytes = (psutil.Process().memory_info().rss - before) / 2**20
        assert grown_mebibytes < MAX_GROWN_MEBIBYTES
