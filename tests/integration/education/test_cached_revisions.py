"""Modules of revisions on a real Redis: read from the database once, by whichever process, and never depended on."""

from __future__ import annotations

import base64
import os
import signal
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from redis.asyncio import Redis as Client

from services.shared import redis_server
from tests.support.education import MODULES, running_education
from tests.support.quizzes import quiz_lesson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import pytest
    from azora.education.v1 import course_pb2

    from tests.support.education import RunningEducation
    from tests.support.postgres import Clone
    from tests.support.redis import Redis

SECRET = base64.b64encode(os.urandom(32)).decode()
EMPTY = "UPDATE course_revisions SET modules = '[]'"
"""What no service may do: it shows where modules are read from."""


@asynccontextmanager
async def replica(redis: Redis, database: Clone, secret: str = SECRET) -> AsyncIterator[RunningEducation]:
    """Run Education with the Redis."""
    urls = database.app_url, database.owner_url
    async with running_education(*urls, redis_url=redis.url, secret_key=secret) as running:
        yield running


def contents(course: course_pb2.Course) -> list[str]:
    """Return the contents of all lessons."""
    return [lesson.content for module in course.modules for lesson in module.lessons]


async def test_a_revision_is_read_once_for_all_processes(
    redis: Redis, education_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its modules, for those enrolled and for all others apart; what may change is read anew."""
    monkeypatch.setattr(redis_server, "ANSWER_SECONDS", 5.0)  # A busy machine's Redis is not lost.
    async with replica(redis, education_database) as first:
        educator, learner = first.educator(), first.person()
        modules = [*MODULES]
        modules[0].lessons.append(quiz_lesson())
        course = await educator.published(modules=modules, capacity=5)
        modules[0].lessons.pop()
        await learner.enroll(course.id)
        opened, closed = await learner.read(course.id), await first.anyone().read(course.id)
        assert contents(opened)[0] == "Rye has much bran."
        assert set(contents(closed)) == {""}
        assert not [
            lesson.quiz.questions for module in opened.modules for lesson in module.lessons if lesson.quiz.questions
        ]
        client = Client.from_url(redis.url)
        assert len(await client.keys("azora:course-revisions:*")) == 2
        await client.aclose()
        await first.sql(EMPTY)
        await first.sql("UPDATE courses SET capacity = 7, version = version + 1 WHERE id = $1", course.id)
    async with replica(redis, education_database) as second:
        other, stranger = second.person(user_id=learner.id), second.anyone()
        for _ in range(2):
            assert list((await other.read(course.id)).modules) == list(opened.modules)
            assert list((await stranger.read(course.id)).modules) == list(closed.modules)
            assert (await stranger.read(course.id)).capacity == 7
    async with replica(redis, education_database, base64.b64encode(os.urandom(32)).decode()) as installation:
        assert not (await installation.anyone().read(course.id)).modules


async def test_nobody_waits_for_a_server_that_is_frozen_or_gone(redis: Redis, education_database: Clone) -> None:
    async with replica(redis, education_database) as education:
        educator = education.educator()
        stops: tuple[Callable[[], None], ...] = (partial(redis.send, signal.SIGSTOP), redis.kill)
        for stop in stops:
            courses = [await educator.published() for _ in range(3)]
            stop()
            for course in courses:
                begun = time.monotonic()
                assert len((await education.anyone().read(course.id)).modules) == 2
                assert time.monotonic() - begun < 1


async def test_modules_outlive_a_change_of_another_course(education: RunningEducation) -> None:
    """Also without a Redis: a change drops answers, and what never changes is put together again."""
    educator, learner = education.educator(), education.person()
    course = await educator.published()
    await learner.enroll(course.id)
    before = [await learner.read(course.id), await education.anyone().read(course.id)]
    await education.sql(EMPTY)
    await educator.published()
    assert [await learner.read(course.id), await education.anyone().read(course.id)] == before
