"""What a watch of an enrolment sees of its progress."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

import grpc
from azora.education.v1 import enrollment_pb2 as pb
from azora.education.v1 import enrollment_service_pb2, enrollment_service_pb2_grpc
from grpc import aio

from services.education.enrollments.model import ProgressSnapshot
from services.shared.ids import new_id
from services.shared.principal import Principal
from services.shared.watching import Heartbeat
from tests.support.attempts import examinee, quiz_module
from tests.support.education import RunningEducation, lesson_ids, running_education
from tests.support.refusals import described, refusal
from tests.support.serving import channel_to

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.education import Person
    from tests.support.postgres import Clone


def _watch(person: Person, enrollment_id: str) -> Any:
    request = enrollment_service_pb2.WatchProgressRequest(enrollment_id=enrollment_id)
    return person.education.enrollments.WatchProgress(request, metadata=person.metadata)


async def _snapshot(watch: Any) -> pb.ProgressSnapshot:
    while True:
        message = await watch.read()
        if message.HasField("snapshot"):
            return message.snapshot  # type: ignore[no-any-return]


async def test_a_watch_begins_with_the_state_and_shows_every_change(education: RunningEducation) -> None:
    course, learner = await education.educator().published(), education.person()
    enrollment = await learner.enroll(course.id)
    flour, water, baking, ovens = lesson_ids(course)
    await learner.complete(enrollment.id, flour)
    watch = _watch(learner, enrollment.id)
    first, second = await watch.read(), await watch.read()
    assert first.snapshot.enrollment_id == enrollment.id
    assert first.snapshot.state == pb.ENROLLMENT_STATE_ACTIVE
    assert first.snapshot.progress == pb.Progress(completed_lessons=1, required_lessons=3, basis_points=3333)
    assert [lesson.lesson_id for lesson in first.snapshot.completed_lessons] == [flour]
    assert second.heartbeat.sequence == first.snapshot.sequence
    sequences = [first.snapshot.sequence]
    for lesson_id, completed in ((ovens, 1), (water, 2), (baking, 3)):
        await learner.complete(enrollment.id, lesson_id)
        seen = await asyncio.wait_for(_snapshot(watch), 2)
        assert (seen.completed_lessons[-1].lesson_id, seen.progress.completed_lessons) == (lesson_id, completed)
        sequences.append(seen.sequence)
    assert sequences == sorted(set(sequences))
    assert seen.state == pb.ENROLLMENT_STATE_COMPLETED


async def test_a_watch_shows_what_another_replica_does_and_a_passed_quiz(education: RunningEducation) -> None:
    course = await education.educator().published(modules=[quiz_module()])
    at = await examinee(course, education.person())
    (enrollment,) = (await at.person.enrolled()).enrollments
    watch = _watch(at.person, enrollment.id)
    assert (await _snapshot(watch)).progress.completed_lessons == 0
    await at.succeed()
    assert (await asyncio.wait_for(_snapshot(watch), 2)).state == pb.ENROLLMENT_STATE_COMPLETED


async def test_cancelling_and_coming_back_are_changes(education: RunningEducation) -> None:
    course, learner = await education.educator().published(), education.person()
    enrollment = await learner.enroll(course.id)
    watch = _watch(learner, enrollment.id)
    await _snapshot(watch)
    await learner.cancel(enrollment.id)
    assert (await asyncio.wait_for(_snapshot(watch), 2)).state == pb.ENROLLMENT_STATE_CANCELLED
    await learner.enroll(course.id)
    assert (await asyncio.wait_for(_snapshot(watch), 2)).state == pb.ENROLLMENT_STATE_ACTIVE


async def test_only_ones_own_enrolment_is_watched(education: RunningEducation) -> None:
    course, learner = await education.educator().published(), education.person()
    enrollment = await learner.enroll(course.id)
    for stranger in (education.person(), education.admin()):
        hidden = await refusal(_watch(stranger, enrollment.id).read())
        assert (hidden.code, hidden.reason) == ("NOT_FOUND", "ENROLLMENT_NOT_FOUND")
    assert (await refusal(_watch(learner, new_id()).read())).reason == "ENROLLMENT_NOT_FOUND"
    assert (await refusal(_watch(education.anyone(), enrollment.id).read())).reason == "TOKEN_MISSING"


async def test_a_person_has_a_bounded_number_of_watches(education: RunningEducation) -> None:
    course, learner = await education.educator().published(), education.person()
    enrollment = await learner.enroll(course.id)
    watches = [_watch(learner, enrollment.id) for _ in range(10)]
    for watch in watches:
        await watch.read()
    refused = await refusal(_watch(learner, enrollment.id).read())
    assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS")


async def test_draining_ends_a_watch_so_that_its_client_goes_elsewhere(education_database: Clone) -> None:
    async with AsyncExitStack() as stack:
        async with running_education(education_database.app_url, education_database.owner_url) as education:
            channel = await stack.enter_async_context(channel_to(education.target))
            course, learner = await education.educator().published(), education.person()
            enrollment = await learner.enroll(course.id)
            stub = enrollment_service_pb2_grpc.EnrollmentServiceStub(channel)
            request = enrollment_service_pb2.WatchProgressRequest(enrollment_id=enrollment.id)
            watch = stub.WatchProgress(request, metadata=learner.metadata)
            await watch.read()
            ending = asyncio.ensure_future(_end(watch))
        error, failed = await asyncio.wait_for(ending, 5)
    assert error.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert (failed.code(), described(failed).reason) == (grpc.StatusCode.UNAVAILABLE, "STREAM_INTERRUPTED")


async def _end(watch: Any) -> tuple[Any, aio.AioRpcError]:
    last: Any = None
    try:
        while (message := await watch.read()) is not aio.EOF:
            last = message
    except aio.AioRpcError as failed:
        return last.error, failed
    raise AssertionError("the watch ended without an error")


async def test_many_watches_cost_one_statement_a_second(education: RunningEducation) -> None:
    course = await education.educator().published()
    people = [education.person() for _ in range(20)]
    enrolled = await asyncio.gather(*(person.enroll(course.id) for person in people))
    operations = education.replica.enrollments
    asked: list[int] = []
    read = operations.watchers._read

    async def counting(sequences: Mapping[str, int]) -> Any:
        asked.append(len(sequences))
        return await read(sequences)

    operations.watchers._read = counting
    polling = asyncio.create_task(operations.watchers.run())
    async with AsyncExitStack() as stack:
        watches = []
        for person, enrollment in list(zip(people, enrolled, strict=True)) * 10:
            watch = operations.watch_progress(principal=Principal(user_id=person.id), enrollment_id=enrollment.id)
            await stack.enter_async_context(aclosing(watch))
            watches.append(watch)
            assert isinstance(await anext(watch), ProgressSnapshot)
            assert isinstance(await anext(watch), Heartbeat)
        began, before = asyncio.get_running_loop().time(), len(asked)
        lesson_id = lesson_ids(course)[0]
        await asyncio.gather(*(person.complete(it.id, lesson_id) for person, it in zip(people, enrolled, strict=True)))
        for watch in watches:
            changed = await anext(watch)
            assert isinstance(changed, ProgressSnapshot)
            assert changed.progress.completed_lessons == 1
        took = asyncio.get_running_loop().time() - began
        assert len(asked) - before <= took + 1
        assert asked[-1] == 20, "each asks for all enrolments"
    polling.cancel()
