"""Courses: who may write, publish and see them, and what of them."""

from __future__ import annotations

import asyncio

import pytest
from asyncpg import InsufficientPrivilegeError
from azora.education.v1 import course_pb2
from azora.education.v1 import course_service_pb2 as pb
from azora.type.v1 import money_pb2

from services.shared.ids import new_id
from tests.support.education import MODULES, RunningEducation, azr, lesson_ids
from tests.support.refusals import refusal

pytestmark = pytest.mark.shared


async def test_a_draft_is_written_with_what_is_unset_filled_in(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.write()
    assert course.state == course_pb2.COURSE_STATE_DRAFT
    assert (course.educator_id, course.revision, course.lesson_count) == (educator.id, 0, 4)
    assert course.price == course.completion_reward == azr(0)
    assert not course.HasField("capacity")
    assert not course.HasField("publish_time")
    flour, water, baking, ovens = (lesson for module in course.modules for lesson in module.lessons)
    assert [module.title for module in course.modules] == ["Flour and water", "Fire"]
    assert (flour.title, flour.required, flour.kind) == ("Flour", True, course_pb2.LESSON_KIND_ARTICLE)
    assert (water.content, baking.kind, ovens.required) == ("Warm, not hot.", course_pb2.LESSON_KIND_VIDEO, False)
    assert course == await educator.read(course.id)


async def test_a_draft_is_written_with_what_is_set(education: RunningEducation) -> None:
    educator = education.educator()
    course = await education.admin().write(
        educator_id=educator.id, price=azr(49_00), completion_reward=azr(75_00), capacity=0, modules=[]
    )
    assert (course.educator_id, course.price, course.completion_reward) == (educator.id, azr(49_00), azr(75_00))
    assert course.HasField("capacity")
    assert (course.capacity, course.lesson_count, list(course.modules)) == (0, 0, [])
    assert (await educator.read(course.id)).id == course.id


async def test_a_module_may_have_no_lessons(education: RunningEducation) -> None:
    course = await education.educator().published(modules=[pb.NewModule(title="Soon"), *MODULES])
    assert [len(module.lessons) for module in course.modules] == [0, 2, 2]


async def test_only_administrators_set_rewards_and_write_for_others(education: RunningEducation) -> None:
    educator = education.educator()
    reward = await refusal(educator.write(completion_reward=azr(1)))
    assert (reward.code, reward.reason) == ("PERMISSION_DENIED", "COMPLETION_REWARD_NOT_ALLOWED")
    other = await refusal(educator.write(educator_id=new_id()))
    assert (other.code, other.reason) == ("PERMISSION_DENIED", "OTHER_EDUCATOR_NOT_ALLOWED")
    assert (await educator.write(educator_id=educator.id.upper(), completion_reward=azr(0))).educator_id == educator.id


async def test_students_write_nothing(education: RunningEducation) -> None:
    assert (await refusal(education.person().write())).reason == "ACCESS_DENIED"
    assert (await refusal(education.anyone().write())).reason == "TOKEN_MISSING"


async def test_bad_courses_are_refused_field_by_field(education: RunningEducation) -> None:
    refused = await refusal(education.educator().write(title="", price=azr(-1), capacity=-1))
    assert (refused.code, set(refused.fields)) == ("INVALID_ARGUMENT", {"title", "price", "capacity"})
    rewarding = await refusal(education.admin().write(completion_reward=azr(1000_01)))
    assert (rewarding.code, rewarding.fields) == ("INVALID_ARGUMENT", ("completionReward",))
    nul = await refusal(education.educator().write(title="a\0b"))
    assert nul.code == "INVALID_ARGUMENT"
    unknown = await refusal(education.educator().write(price=money_pb2.Money(minor_units=1, currency="QQQ")))
    assert (unknown.code, unknown.reason) == ("INVALID_ARGUMENT", "CURRENCY_UNKNOWN")


async def test_a_draft_is_invisible_to_all_but_its_educator_and_administrators(education: RunningEducation) -> None:
    course = await education.educator().write()
    for stranger in (education.anyone(), education.person(), education.educator()):
        hidden = await refusal(stranger.read(course.id))
        assert (hidden.code, hidden.reason) == ("NOT_FOUND", "COURSE_NOT_FOUND")
    assert (await education.admin().read(course.id)).modules[0].lessons[0].content
    assert (await refusal(education.anyone().read(new_id()))).reason == "COURSE_NOT_FOUND"


async def test_lessons_are_for_those_enrolled_the_educator_and_administrators(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    course = await educator.published()
    await learner.enroll(course.id)
    for reader in (educator, learner, education.admin()):
        assert (await reader.read(course.id)).modules[0].lessons[0].content == "Rye has much bran."
    for reader in (education.anyone(), education.person(), education.educator()):
        seen = (await reader.read(course.id)).modules[0].lessons[0]
        assert (seen.title, seen.content) == ("Flour", "")


async def test_publishing_makes_a_revision_once(education: RunningEducation) -> None:
    educator = education.educator()
    draft = await educator.write()
    published = await educator.publish(draft.id, draft.etag)
    assert published.state == course_pb2.COURSE_STATE_PUBLISHED
    assert published.revision == 1
    assert published.HasField("publish_time")
    assert published.etag != draft.etag
    assert lesson_ids(published) == lesson_ids(draft)
    assert await educator.publish(draft.id, published.etag) == published
    assert await educator.publish(draft.id, draft.etag) == published, "the call came again"
    assert await educator.publish(draft.id) == published


async def test_publishing_twice_at_once_makes_one_revision(education: RunningEducation) -> None:
    educator = education.educator()
    draft = await educator.write()
    published = await asyncio.gather(*(educator.publish(draft.id, draft.etag) for _ in range(5)))
    assert {course.revision for course in published} == {1}


async def test_readers_see_a_revision_and_not_the_draft(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    first = await educator.published()
    await learner.enroll(first.id)
    await education.sql(
        "UPDATE courses SET title = 'Rye', version = version + 1,"
        " modules = jsonb_set(modules, '{0,lessons,0,content}', '\"Strong.\"') WHERE id = $1",
        first.id,
    )
    unseen = await learner.read(first.id)
    assert (unseen.title, unseen.modules[0].lessons[0].content) == ("Sourdough", "Rye has much bran.")
    assert (await refusal(educator.publish(first.id, first.etag))).reason == "ETAG_MISMATCH"
    second = await educator.publish(first.id)
    assert (second.revision, second.title, second.publish_time) == (2, "Rye", first.publish_time)
    # Who is enrolled keeps the enrolment's revision, with its lessons open, and may look at another; everyone else
    # gets the latest.
    pinned, latest = await learner.read(first.id), await learner.read(first.id, revision=2)
    newcomer = await education.person().read(first.id)
    shown = [(course.revision, course.title, _first_lesson(course)) for course in (pinned, latest, newcomer)]
    assert shown == [(1, "Sourdough", "Rye has much bran."), (2, "Rye", ""), (2, "Rye", "")]
    assert (await education.anyone().read(first.id, revision=1)).title == "Sourdough"
    assert (await refusal(learner.read(first.id, revision=3))).reason == "COURSE_NOT_FOUND"
    (mine,) = (await learner.enrolled()).enrollments
    assert (mine.course_revision, mine.course_title) == (1, "Sourdough")


async def test_what_publishing_refuses(education: RunningEducation) -> None:
    educator = education.educator()
    draft = await educator.write()
    stale = await refusal(educator.publish(draft.id, "0"))
    assert (stale.code, stale.reason) == ("ABORTED", "ETAG_MISMATCH")
    other = await refusal(education.educator().publish(draft.id))
    assert (other.code, other.reason) == ("NOT_FOUND", "COURSE_NOT_FOUND")
    assert (await refusal(educator.publish(new_id()))).reason == "COURSE_NOT_FOUND"
    assert (await refusal(education.person().publish(draft.id))).reason == "ACCESS_DENIED"
    optional = [pb.NewModule(title="Extras", lessons=[pb.NewLesson(title="Ovens", required=False)])]
    for modules in ([], optional):
        empty = await refusal(educator.publish((await educator.write(modules=modules)).id))
        assert (empty.code, empty.reason) == ("FAILED_PRECONDITION", "COURSE_EMPTY")
    await education.sql("UPDATE courses SET state = 'ARCHIVED' WHERE id = $1", draft.id)
    archived = await refusal(educator.publish(draft.id))
    assert (archived.code, archived.reason) == ("FAILED_PRECONDITION", "COURSE_ARCHIVED")
    assert (await education.anyone().read(draft.id)).state == course_pb2.COURSE_STATE_ARCHIVED
    assert (await education.admin().publish((await educator.write()).id)).revision == 1


@pytest.mark.own
async def test_the_catalogue_lists_published_courses_newest_first_in_pages(education: RunningEducation) -> None:
    educator, reader = education.educator(), education.anyone()
    courses = [await educator.published(title=f"Course {number}") for number in range(5)]
    await educator.write(title="Draft")
    pages, token = [], ""
    for size in (2, 1, 100):  # Another size with a token is honoured.
        page = await reader.list(page_size=size, page_token=token)
        pages.append([course.title for course in page.courses])
        token = page.next_page_token
    assert pages == [["Course 4", "Course 3"], ["Course 2"], ["Course 1", "Course 0"]]
    assert token == ""
    (listed, *_) = (await reader.list()).courses
    assert (listed.id, listed.lesson_count, list(listed.modules)) == (courses[-1].id, 4, [])


async def test_mine_lists_the_callers_own_in_every_state(education: RunningEducation) -> None:
    educator = education.educator()
    draft, published = await educator.write(), await educator.published()
    await education.educator().published()
    mine = [course.id for course in (await educator.list(mine=True)).courses]
    assert mine == [published.id, draft.id]
    assert [course.id for course in (await education.educator().list(mine=True)).courses] == []
    assert (await refusal(education.anyone().list(mine=True))).reason == "TOKEN_MISSING"


async def test_page_tokens_belong_to_what_was_asked(education: RunningEducation) -> None:
    educator = education.educator()
    for _ in range(2):
        await educator.published()
    token = (await educator.list(page_size=1, mine=True)).next_page_token
    for asked in (
        educator.list(page_token=token),
        education.educator().list(page_token=token, mine=True),
        educator.list(page_token=f"{token[:-4]}AAA=", mine=True),
        educator.list(page_token="nonsense", mine=True),
    ):
        refused = await refusal(asked)
        assert (refused.code, refused.reason, refused.fields) == (
            "INVALID_ARGUMENT",
            "PAGE_TOKEN_INVALID",
            ("pageToken",),
        )
    assert (await refusal(educator.list(page_size=-1))).reason == "VALIDATION_FAILED"


async def test_the_running_service_cannot_change_a_revision(education: RunningEducation) -> None:
    await education.educator().published()
    for statement in ("UPDATE course_revisions SET title = 'x'", "DELETE FROM course_revisions"):
        with pytest.raises(InsufficientPrivilegeError):
            await education.sql(statement, app=True)


def _first_lesson(course: course_pb2.Course) -> str:
    return course.modules[0].lessons[0].content
