"""Prerequisites of courses: published ones, without a circle, however many publish at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from grpc import aio

from services.shared.ids import new_id
from tests.support.authoring import call, update
from tests.support.refusals import described, refusal

if TYPE_CHECKING:
    from tests.support.education import RunningEducation

pytestmark = pytest.mark.shared


async def test_prerequisites_belong_to_the_revision(education: RunningEducation) -> None:
    educator, reader = education.educator(), education.person()
    first, second = await educator.published(), await educator.published()
    await update(educator, second.id, prerequisites=[first.id])
    assert list((await reader.read(second.id)).prerequisites) == []
    await educator.publish(second.id)
    assert list((await reader.read(second.id)).prerequisites) == [first.id]
    assert list((await reader.read(second.id, revision=1)).prerequisites) == []


async def test_prerequisites_must_be_published(education: RunningEducation) -> None:
    educator = education.educator()
    published, drafted, archived = await educator.published(), await educator.write(), await educator.published()
    await call(educator, "ArchiveCourse", course_id=archived.id)
    unknown = new_id()
    course = await educator.write(prerequisites=[published.id, drafted.id, archived.id, unknown])
    refused = await refusal(educator.publish(course.id))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "PREREQUISITE_NOT_PUBLISHED")
    assert refused.metadata == {"courseIds": f"{drafted.id},{archived.id},{unknown}"}
    await update(educator, course.id, prerequisites=[published.id])
    assert (await educator.publish(course.id)).revision == 1


async def test_no_course_is_its_own_prerequisite(education: RunningEducation) -> None:
    educator = education.educator()
    first, second, third = [await educator.published() for _ in range(3)]
    for course, needed in ((second, first), (third, second)):
        await update(educator, course.id, prerequisites=[needed.id])
        await educator.publish(course.id)
    for course in (first, second, third):
        await update(educator, first.id, prerequisites=[course.id])
        refused = await refusal(educator.publish(first.id))
        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "PREREQUISITE_CYCLE")
    assert (await education.anyone().read(first.id)).revision == 1


async def test_an_archived_course_closes_no_circle_when_it_is_opened_again(education: RunningEducation) -> None:
    educator = education.educator()
    first, second, third = [await educator.published() for _ in range(3)]
    for course, needed in ((second, first), (third, second)):
        await update(educator, course.id, prerequisites=[needed.id])
        await educator.publish(course.id)
    await call(educator, "ArchiveCourse", course_id=second.id)
    await update(educator, first.id, prerequisites=[third.id])
    assert (await refusal(educator.publish(first.id))).reason == "PREREQUISITE_CYCLE"


async def test_a_rollback_closes_no_circle(education: RunningEducation) -> None:
    educator = education.educator()
    first, second = await educator.published(), await educator.published()
    await update(educator, second.id, prerequisites=[first.id])
    await educator.publish(second.id)
    await update(educator, second.id, "prerequisites")
    await educator.publish(second.id)
    await update(educator, first.id, prerequisites=[second.id])
    await educator.publish(first.id)
    refused = await refusal(call(educator, "RollbackCourse", course_id=second.id, revision=2))
    assert refused.reason == "PREREQUISITE_CYCLE"
    assert list((await education.anyone().read(second.id)).prerequisites) == []


async def test_two_publishes_at_once_close_no_circle(education: RunningEducation) -> None:
    educator = education.educator()
    for _ in range(5):
        first, second = await educator.published(), await educator.published()
        await update(educator, first.id, prerequisites=[second.id])
        await update(educator, second.id, prerequisites=[first.id])
        outcomes = await asyncio.gather(educator.publish(first.id), educator.publish(second.id), return_exceptions=True)
        (refused,) = [described(outcome) for outcome in outcomes if isinstance(outcome, aio.AioRpcError)]
        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "PREREQUISITE_CYCLE")
