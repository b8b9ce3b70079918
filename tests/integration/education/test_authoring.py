"""Authoring: updates of courses, their states, revisions, rollback and deletion, and who may."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from azora.education.v1 import course_pb2
from google.protobuf.duration_pb2 import Duration

from services.education.courses.operations import WRITE
from services.shared.ids import new_id
from services.shared.principal import Principal
from tests.support.authoring import call, draft, update
from tests.support.education import RunningEducation, azr
from tests.support.exporting import exported_by
from tests.support.refusals import refusal
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

pytestmark = pytest.mark.shared


async def test_an_update_changes_the_draft_and_not_the_revision(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.published(price=azr(100), language="en")
    changed = await update(
        educator,
        course.id,
        etag=course.etag,
        title="Rye",
        description="Dark.",
        price=azr(200),
        language="DE",
        duration=Duration(seconds=60),
        prerequisites=[course.id],
    )
    assert (changed.title, changed.description, changed.price, changed.language) == ("Rye", "Dark.", azr(200), "de")
    assert (changed.duration.seconds, list(changed.prerequisites)) == (60, [course.id])
    assert changed.etag != course.etag
    assert (changed.state, changed.revision) == (course_pb2.COURSE_STATE_PUBLISHED, 1)
    assert changed == await draft(educator, course.id)
    published = await education.person().read(course.id)
    assert (published.title, published.price, published.language) == ("Sourdough", azr(100), "en")
    assert (published.HasField("duration"), list(published.prerequisites)) == (False, [])
    await update(educator, course.id, "prerequisites")
    assert (await educator.publish(course.id)).title == "Rye"


async def test_a_field_that_the_mask_names_and_the_request_leaves_out_is_cleared(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.write(price=azr(1), capacity=3, language="en", duration=Duration(seconds=60))
    mask = ("description", "price", "capacity", "language", "duration")
    cleared = await update(educator, course.id, *mask)
    assert (cleared.title, cleared.description, cleared.price, cleared.language) == ("Sourdough", "", azr(0), "")
    assert not cleared.HasField("capacity")
    assert not cleared.HasField("duration")
    assert (await update(educator, course.id, "title", title="Rye", description="Not named.")).description == ""
    empty = await refusal(update(educator, course.id, "title"))
    assert (empty.code, empty.fields) == ("INVALID_ARGUMENT", ("title",))


@pytest.mark.parametrize("path", ["id", "state", "etag", "modules", "educator_id", "revision", "nonsense", "title.x"])
async def test_what_a_mask_must_not_name(education: RunningEducation, path: str) -> None:
    educator = education.educator()
    course = await educator.write()
    refused = await refusal(update(educator, course.id, "title", path, title="Rye"))
    assert (refused.code, refused.reason, refused.metadata) == (
        "INVALID_ARGUMENT",
        "UPDATE_MASK_INVALID",
        {"path": path},
    )
    assert (await draft(educator, course.id)).title == "Sourdough"


async def test_an_edit_takes_the_etag_of_the_course_as_it_is(education: RunningEducation) -> None:
    educator = education.educator()
    first = await educator.write()
    second = await update(educator, first.id, etag=first.etag, title="Rye")
    stale = await refusal(update(educator, first.id, etag=first.etag, title="Wheat"))
    assert (stale.code, stale.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert await update(educator, first.id, etag=first.etag, title="Rye") == second, "the call came again"
    assert await update(educator, first.id, etag=second.etag, title="Rye") == second, "nothing changed"
    assert (await refusal(update(educator, first.id, etag="0", title="Rye"))).reason == "ETAG_MISMATCH"
    assert (await update(educator, first.id, title="Wheat")).title == "Wheat"


async def test_of_two_editors_at_once_one_is_told(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.write()
    outcomes = await asyncio.gather(
        *(update(educator, course.id, etag=course.etag, title=title) for title in ("Rye", "Wheat")),
        return_exceptions=True,
    )
    assert sorted(isinstance(outcome, BaseException) for outcome in outcomes) == [False, True]


async def test_only_the_educator_and_administrators_edit(education: RunningEducation) -> None:
    educator = education.educator()
    course, published = await educator.write(), await educator.published()
    module = course.modules[0]
    lesson = module.lessons[0]
    fields: dict[str, dict[str, Any]] = {
        "UpdateCourse": {"course": {"title": "Mine"}},
        "PublishCourse": {},
        "ArchiveCourse": {},
        "UnarchiveCourse": {},
        "DeleteCourse": {},
        "RollbackCourse": {"revision": 1},
        "ListCourseRevisions": {},
        "ExportCourse": {},
        "CreateModule": {"module": {"title": "Mine"}},
        "UpdateModule": {"module_id": module.id, "module": {"title": "Mine"}},
        "DeleteModule": {"module_id": module.id},
        "MoveModule": {"module_id": module.id},
        "CreateLesson": {"module_id": module.id, "lesson": {"title": "Mine"}},
        "UpdateLesson": {"module_id": module.id, "lesson_id": lesson.id, "lesson": {"title": "Mine"}},
        "DeleteLesson": {"module_id": module.id, "lesson_id": lesson.id},
        "MoveLesson": {"module_id": module.id, "lesson_id": lesson.id},
    }
    for rpc, given in fields.items():
        for course_id in (course.id, published.id, new_id()):
            other = await refusal(call(education.educator(), rpc, course_id=course_id, **given))
            assert (other.code, other.reason) == ("NOT_FOUND", "COURSE_NOT_FOUND"), rpc
        assert (await refusal(call(education.person(), rpc, course_id=course.id, **given))).reason == "ACCESS_DENIED"
        assert (await refusal(call(education.anyone(), rpc, course_id=course.id, **given))).reason == "TOKEN_MISSING"
    assert await draft(educator, course.id) == course
    assert (await update(education.admin(), course.id, title="Rye")).title == "Rye"


async def test_only_administrators_change_the_reward(education: RunningEducation) -> None:
    educator, admin = education.educator(), education.admin()
    course = await educator.write()
    refused = await refusal(update(educator, course.id, completion_reward=azr(1)))
    assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "COMPLETION_REWARD_NOT_ALLOWED")
    assert (await update(admin, course.id, completion_reward=azr(75_00))).completion_reward == azr(75_00)
    assert (await update(educator, course.id, completion_reward=azr(75_00))).completion_reward == azr(75_00)
    assert (await refusal(update(educator, course.id, "completion_reward"))).reason == "COMPLETION_REWARD_NOT_ALLOWED"
    assert (await refusal(update(admin, course.id, completion_reward=azr(1000_01)))).code == "INVALID_ARGUMENT"


async def test_the_capacity_belongs_to_the_course(education: RunningEducation) -> None:
    educator, learners = education.educator(), [education.person() for _ in range(3)]
    course = await educator.published()
    await learners[0].enroll(course.id)
    limited = await update(educator, course.id, capacity=2)
    assert (await education.anyone().read(course.id)).capacity == 2
    await learners[1].enroll(course.id)
    assert (await refusal(learners[2].enroll(course.id))).reason == "COURSE_FULL"
    assert (await educator.publish(course.id, limited.etag)).revision == 1, "there is nothing to publish"
    await update(educator, course.id, capacity=1)
    assert (await learners[0].read(course.id)).modules[0].lessons[0].content, "who is enrolled stays"
    await update(educator, course.id, "capacity")
    await learners[2].enroll(course.id)


async def test_a_capacity_counts_those_who_enrol_meanwhile(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    course = await educator.published()
    connection = await _connect(education)
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO enrollments (id, user_id, course_id, course_revision, state, key, open_time, required_lessons)"
            " VALUES (gen_random_uuid(), gen_random_uuid(), $1, 1, 'ACTIVE', 'k', now(), 3)",
            course.id,
        )
        limiting = asyncio.ensure_future(update(educator, course.id, capacity=1))
        await eventually(lambda: _waits_for_a_lock(education))
    await limiting
    await connection.close()
    assert (await refusal(learner.enroll(course.id))).reason == "COURSE_FULL"


async def test_archiving_closes_a_course_to_newcomers_alone(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    course = await educator.published()
    enrollment = await learner.enroll(course.id)
    archived = (await call(educator, "ArchiveCourse", course_id=course.id, etag=course.etag)).course
    assert (archived.state, archived.revision) == (course_pb2.COURSE_STATE_ARCHIVED, 1)
    assert (await refusal(education.person().enroll(course.id))).reason == "COURSE_NOT_OPEN"
    assert course.id not in [listed.id for listed in (await educator.list()).courses]
    await learner.complete(enrollment.id, course.modules[0].lessons[0].id)
    assert (await refusal(educator.publish(course.id))).reason == "COURSE_ARCHIVED"
    assert (await call(educator, "ArchiveCourse", course_id=course.id)).course == archived
    assert (await call(educator, "ArchiveCourse", course_id=course.id, etag=course.etag)).course == archived, "again"
    opened = (await call(educator, "UnarchiveCourse", course_id=course.id, etag=archived.etag)).course
    assert (opened.state, opened.revision) == (course_pb2.COURSE_STATE_PUBLISHED, 1)
    await education.person().enroll(course.id)
    assert (await educator.publish(course.id)).revision == 1, "there is nothing to publish"


async def test_an_archived_course_is_answered_with_the_etag_of_its_archiving(
    education: RunningEducation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another edit came between the change and what was read to answer it: its etag let it be overwritten unseen."""
    educator = education.educator()
    course = await educator.published()
    database = education.replica.infrastructure.database
    reading = database.reading

    @asynccontextmanager
    async def later() -> AsyncIterator[Any]:
        await update(educator, course.id, title="Rye")
        async with reading() as connection:
            yield connection

    monkeypatch.setattr(database, "reading", later)
    caller = Principal(user_id=educator.id, permissions=frozenset({WRITE}))
    archived = await education.replica.authoring.archive_course(principal=caller, course_id=course.id, etag=course.etag)
    assert (archived.course.state, archived.course.title) == ("ARCHIVED", "Sourdough")
    assert int(archived.course.etag) == int(course.etag) + 1
    stale = await refusal(update(educator, course.id, title="Wheat", etag=archived.course.etag))
    assert stale.reason == "ETAG_MISMATCH"


@pytest.mark.parametrize(
    ("rpc", "fields"),
    [
        ("ArchiveCourse", {}),
        ("UnarchiveCourse", {}),
        ("CreateModule", {"module": {"title": "X"}}),
        ("UpdateModule", {"module_id": 0, "module": {"title": "X"}}),
        ("DeleteModule", {"module_id": 0}),
        ("MoveModule", {"module_id": 0, "position": 1}),
        ("CreateLesson", {"module_id": 0, "lesson": {"title": "X"}}),
        ("DeleteLesson", {"module_id": 0, "lesson_id": 0}),
        ("MoveLesson", {"module_id": 0, "lesson_id": 0, "position": 1}),
    ],
)
async def test_an_old_etag_changes_nothing(education: RunningEducation, rpc: str, fields: dict[str, Any]) -> None:
    educator = education.educator()
    course = await educator.published()
    if rpc == "UnarchiveCourse":
        await call(educator, "ArchiveCourse", course_id=course.id)
    newest = await update(educator, course.id, title="Rye")
    ids = {"module_id": course.modules[0].id, "lesson_id": course.modules[0].lessons[0].id}
    fields = fields | {name: ids[name] for name in ids if name in fields}

    async def edit(etag: str) -> None:
        told: dict[str, Any] = {"etag": etag}
        if rpc == "UpdateModule":
            told = {"module": fields["module"] | told}
        await call(educator, rpc, course_id=course.id, **fields | told)

    stale = await refusal(edit(course.etag))
    assert (stale.code, stale.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert await draft(educator, course.id) == newest
    await edit(newest.etag)
    assert await draft(educator, course.id) != newest


async def test_a_course_without_a_revision_has_no_other_state(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.write()
    for rpc in ("ArchiveCourse", "UnarchiveCourse"):
        refused = await refusal(call(educator, rpc, course_id=course.id))
        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "COURSE_NOT_PUBLISHED")


async def test_only_a_course_that_was_never_published_is_deleted(education: RunningEducation) -> None:
    educator = education.educator()
    course, published = await educator.write(), await educator.published()
    assert (await refusal(call(educator, "DeleteCourse", course_id=course.id, etag="0"))).reason == "ETAG_MISMATCH"
    await call(educator, "DeleteCourse", course_id=course.id, etag=course.etag)
    assert (await refusal(educator.read(course.id))).reason == "COURSE_NOT_FOUND"
    assert (await refusal(call(educator, "DeleteCourse", course_id=course.id))).reason == "COURSE_NOT_FOUND"
    kept = await refusal(call(educator, "DeleteCourse", course_id=published.id))
    assert (kept.code, kept.reason) == ("FAILED_PRECONDITION", "COURSE_PUBLISHED")


async def _published_times(education: RunningEducation, times: int) -> tuple[Any, course_pb2.Course]:
    educator = education.educator()
    course = await educator.published(title="Course 1", price=azr(1))
    for number in range(2, times + 1):
        await update(educator, course.id, title=f"Course {number}", price=azr(number))
        course = await educator.publish(course.id)
    return educator, course


async def test_revisions_are_listed_newest_first_in_pages(education: RunningEducation) -> None:
    educator, course = await _published_times(education, 3)
    first = await call(educator, "ListCourseRevisions", course_id=course.id, page_size=2)
    rest = await call(educator, "ListCourseRevisions", course_id=course.id, page_token=first.next_page_token)
    shown = [(one.revision, one.title, one.price, one.lesson_count) for one in [*first.revisions, *rest.revisions]]
    assert shown == [(number, f"Course {number}", azr(number), 4) for number in (3, 2, 1)]
    assert all(one.HasField("create_time") for one in first.revisions)
    assert rest.next_page_token == ""
    other = await educator.published()
    stolen = await refusal(call(educator, "ListCourseRevisions", course_id=other.id, page_token=first.next_page_token))
    assert (stolen.code, stolen.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
    assert not (await call(educator, "ListCourseRevisions", course_id=(await educator.write()).id)).revisions


async def test_rolling_back_publishes_an_earlier_revision_again(education: RunningEducation) -> None:
    educator, course = await _published_times(education, 2)
    await call(educator, "DeleteModule", course_id=course.id, module_id=course.modules[0].id)
    edited = await update(educator, course.id, title="Unpublished")
    back = (await call(educator, "RollbackCourse", course_id=course.id, revision=1, etag=edited.etag)).course
    assert (back.revision, back.title, back.price, back.lesson_count) == (3, "Course 1", azr(1), 4)
    assert back.modules == course.modules, "lessons keep their ids"
    assert (await draft(educator, course.id)).title == "Course 1"
    assert (await education.person().read(course.id)).title == "Course 1"
    again = (await call(educator, "RollbackCourse", course_id=course.id, revision=1)).course
    assert (again.revision, again.etag) == (3, back.etag), "there is nothing to roll back"
    assert (await call(educator, "RollbackCourse", course_id=course.id, revision=2)).course.title == "Course 2"


async def test_what_rolling_back_refuses(education: RunningEducation) -> None:
    educator, course = await _published_times(education, 2)
    stale = await refusal(call(educator, "RollbackCourse", course_id=course.id, revision=1, etag="1"))
    assert (stale.code, stale.reason) == ("ABORTED", "ETAG_MISMATCH")
    unknown = await refusal(call(educator, "RollbackCourse", course_id=course.id, revision=9))
    assert (unknown.code, unknown.reason) == ("NOT_FOUND", "COURSE_REVISION_NOT_FOUND")
    assert (await refusal(call(educator, "RollbackCourse", course_id=course.id))).code == "INVALID_ARGUMENT"
    await call(educator, "ArchiveCourse", course_id=course.id)
    archived = await refusal(call(educator, "RollbackCourse", course_id=course.id, revision=1))
    assert (archived.code, archived.reason) == ("FAILED_PRECONDITION", "COURSE_ARCHIVED")


async def test_rolling_back_brings_no_reward_back(education: RunningEducation) -> None:
    """An educator must not restore what an administrator lowered."""
    educator, admin = education.educator(), education.admin()
    course = await admin.published(educator_id=educator.id, completion_reward=azr(1000_00))
    await update(admin, course.id, completion_reward=azr(1_00), title="Less")
    await admin.publish(course.id)
    back = (await call(educator, "RollbackCourse", course_id=course.id, revision=1)).course
    assert (back.title, back.completion_reward) == ("Sourdough", azr(1_00))


async def test_publishing_archiving_and_opening_again_are_audited(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.published()
    for rpc in ("ArchiveCourse", "ArchiveCourse", "UnarchiveCourse"):  # What changes nothing is not recorded.
        await call(educator, rpc, course_id=course.id)
    recorded = await education.sql(
        "SELECT action FROM audit_events WHERE target = $1 AND user_id = $2 ORDER BY id",
        f"courses/{course.id}",
        educator.id,
    )
    assert [row["action"] for row in recorded] == ["course.publish", "course.archive", "course.unarchive"]


async def test_what_a_person_wrote_is_exported_and_their_name_forgotten(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.published(title="Rye")
    await education.sql("INSERT INTO people VALUES ($1, 'Edda', 1)", educator.id)
    assert (await educator.read(course.id)).educator_name == "Edda"
    courses = education.replica.courses

    async def erase(connection: Any) -> Mapping[str, Any]:
        exported = await exported_by(courses, connection, user_id=educator.id)
        await courses.erase_person(connection, user_id=educator.id)
        return exported

    exported = await education.replica.infrastructure.database.transaction(erase)
    (written,) = exported["authoredCourses"]
    assert (written["id"], written["title"]) == (course.id, "Rye")
    assert written["modules"][0]["lessons"][0]["content"] == "Rye has much bran."
    kept = await educator.read(course.id)
    assert (kept.title, kept.educator_name) == ("Rye", "")


async def _connect(education: RunningEducation) -> Any:
    return await asyncpg.connect(education.owner_url.replace("+asyncpg", ""))


def _waits_for_a_lock(education: RunningEducation) -> Awaitable[bool]:
    async def waits() -> bool:
        return bool(await education.sql("SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"))

    return waits()
