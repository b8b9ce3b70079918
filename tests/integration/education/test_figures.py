"""Figures of a course, and a learner's overview."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from azora.education.v1 import course_service_pb2 as pb
from azora.education.v1 import enrollment_pb2

from services.shared.ids import new_id
from tests.support.authoring import call
from tests.support.education import azr, lesson_ids
from tests.support.learning import figures, overview
from tests.support.refusals import refusal
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from azora.education.v1 import course_pb2, learning_pb2

    from tests.support.education import Person, RunningEducation


def funnel(figures: learning_pb2.CourseFigures) -> list[tuple[int, int]]:
    """Return numbers and shares, by lesson."""
    return [(lesson.completed_learners, lesson.completion_basis_points) for lesson in figures.lessons]


async def finish(learner: Person, course: course_pb2.Course) -> str:
    """Enrol, and complete all lessons."""
    enrollment = await learner.enroll(course.id)
    for lesson_id in lesson_ids(course):
        await learner.complete(enrollment.id, lesson_id)
    return enrollment.id


async def test_figures_count_enrolments_and_each_lesson(education: RunningEducation) -> None:
    """As soon as they change, whether or not the changes have been added up."""
    educator = education.educator()
    course = await educator.published()
    empty = await figures(educator, course.id)
    assert (empty.course_id, empty.enrollments.enrolled_learners) == (course.id, 0)
    assert funnel(empty) == [(0, 0)] * 4
    begun, gone = education.person(), education.person()
    await finish(education.person(), course)
    enrollment = await begun.enroll(course.id)
    for _ in range(2):
        await begun.complete(enrollment.id, lesson_ids(course)[0])
    await gone.cancel((await gone.enroll(course.id)).id)
    for _ in range(3):
        before = datetime.now(UTC)
        seen = await figures(educator, course.id)
        assert before <= seen.compute_time.ToDatetime(UTC) <= datetime.now(UTC)
        enrolled = seen.enrollments
        assert (enrolled.enrolled_learners, enrolled.pending, enrolled.active) == (3, 0, 1)
        assert (enrolled.completed, enrolled.cancelled, enrolled.completion_basis_points) == (1, 1, 3333)
        assert funnel(seen) == [(2, 6666), (1, 3333), (1, 3333), (1, 3333)]
        await education.replica.learning.add_figure_changes()
    assert [(lesson.title, lesson.required) for lesson in seen.lessons[2:]] == [("Baking", True), ("Ovens", False)]
    assert [lesson.module_id for lesson in seen.lessons[2:]] == [course.modules[1].id] * 2
    assert (await education.sql("SELECT count(*) FROM figure_changes"))[0][0] == 0
    assert await figures(education.admin(), course.id)


async def test_who_comes_back_is_counted_once(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    course = await educator.published()
    for _ in range(3):
        enrollment = await learner.enroll(course.id)
        await learner.cancel(enrollment.id)
    await learner.enroll(course.id)
    enrolled = (await figures(educator, course.id)).enrollments
    assert (enrolled.enrolled_learners, enrolled.active, enrolled.cancelled) == (1, 1, 0)


async def test_who_has_not_paid_is_not_enrolled(education: RunningEducation) -> None:
    educator, learner, poor = education.educator(), education.person(), education.person()
    course = await educator.published(price=azr(49_00))
    education.payments.refused[poor.id] = "INSUFFICIENT_FUNDS"
    await refusal(poor.enroll(course.id))
    education.payments.silent.add("hold")
    await refusal(learner.enroll(course.id, key="k"))
    enrolled = (await figures(educator, course.id)).enrollments
    assert (enrolled.enrolled_learners, enrolled.pending, enrolled.active, enrolled.cancelled) == (0, 1, 0, 0)
    education.payments.silent.clear()
    await learner.enroll(course.id, key="k")
    enrolled = (await figures(educator, course.id)).enrollments
    assert (enrolled.enrolled_learners, enrolled.pending, enrolled.active, enrolled.cancelled) == (1, 0, 1, 0)


async def test_learners_at_once_and_two_replicas_that_add_up_lose_nothing(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.published()
    learners = [education.person() for _ in range(8)]

    async def add() -> None:
        for _ in range(5):
            await education.replica.learning.add_figure_changes()

    await asyncio.gather(add(), *(finish(learner, course) for learner in learners), add())
    for _ in range(2):
        seen = await figures(educator, course.id)
        assert (seen.enrollments.enrolled_learners, seen.enrollments.completed) == (8, 8)
        assert funnel(seen) == [(8, 10_000)] * 4
        await education.replica.learning.add_figure_changes()


async def test_what_is_deleted_counts_no_more(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    course = await educator.published()
    await finish(learner, course)
    await education.replica.learning.add_figure_changes()
    await education.sql("DELETE FROM enrollments WHERE user_id = $1", learner.id)
    seen = await figures(educator, course.id)
    assert seen.enrollments.enrolled_learners == seen.enrollments.completed == 0
    assert funnel(seen) == [(0, 0)] * 4


async def test_figures_are_of_the_newest_revision_and_for_those_who_edit(education: RunningEducation) -> None:
    educator = education.educator()
    draft = await educator.write()
    assert len((await figures(educator, draft.id)).lessons) == 4
    for stranger in (education.educator(), education.person(), education.anyone()):
        refused = await refusal(figures(stranger, draft.id))
        assert refused.reason in ("COURSE_NOT_FOUND", "ACCESS_DENIED", "TOKEN_MISSING")
    assert (await refusal(figures(educator, new_id()))).reason == "COURSE_NOT_FOUND"
    assert (await refusal(figures(educator, "x"))).reason == "VALIDATION_FAILED"
    for lessons in (4, 3):
        published = await educator.publish(draft.id)
        assert len((await figures(educator, draft.id)).lessons) == lessons
        module = published.modules[0]
        await call(educator, "DeleteLesson", course_id=draft.id, module_id=module.id, lesson_id=module.lessons[0].id)
        assert len((await figures(educator, draft.id)).lessons) == lessons


async def test_the_job_adds_changes_up(education: RunningEducation) -> None:
    course = await education.educator().published()
    await finish(education.person(), course)

    async def added() -> bool:
        due = "UPDATE pgqueuer_schedules SET next_run = now() WHERE entrypoint = 'add_figure_changes'"
        await education.sql(due)  # As if its time had come.
        return not (await education.sql("SELECT count(*) FROM figure_changes"))[0][0]

    await eventually(added, within_seconds=40)


async def test_an_overview_shows_what_to_go_on_with(education: RunningEducation) -> None:
    """The course with the latest activity first, and the first required lesson that is not complete."""
    educator, learner = education.educator(), education.person()
    empty = await overview(learner)
    assert (empty.active_courses, empty.completed_courses, list(empty.current_courses)) == (0, 0, [])
    first, second = await educator.published(title="first"), await educator.published(title="second")
    enrollments = [(await learner.enroll(course.id)).id for course in (first, second)]
    await finish(learner, await educator.published(title="done"))
    cancelled = await learner.enroll((await educator.published()).id)
    await learner.cancel(cancelled.id)
    await finish(education.person(), first)
    await learner.complete(enrollments[0], lesson_ids(first)[3])
    await learner.complete(enrollments[0], lesson_ids(first)[0])
    before = datetime.now(UTC)
    shown = await overview(learner)
    assert before <= shown.compute_time.ToDatetime(UTC) <= datetime.now(UTC)
    assert (shown.pending_courses, shown.active_courses, shown.completed_courses) == (0, 2, 1)
    assert shown.completed_lessons == 1 + 3
    latest, other = shown.current_courses
    assert (latest.enrollment.id, latest.enrollment.course_title) == (enrollments[0], "first")
    assert latest.enrollment.progress.basis_points == 3333
    assert (latest.next_lesson_id, latest.next_lesson_title) == (lesson_ids(first)[1], "Water")
    assert (other.enrollment.id, other.next_lesson_title) == (enrollments[1], "Flour")
    assert other.last_activity_time == other.enrollment.enroll_time
    assert latest.last_activity_time.ToDatetime() > latest.enrollment.enroll_time.ToDatetime()
    assert latest.enrollment.state == enrollment_pb2.ENROLLMENT_STATE_ACTIVE
    assert (await refusal(overview(education.anyone()))).reason == "TOKEN_MISSING"


async def test_an_overview_is_bounded(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    modules = [pb.NewModule(title="M", lessons=[pb.NewLesson(title="L")])]
    courses = [await educator.published(title=f"{number}", modules=modules) for number in range(12)]
    for course in courses:
        await learner.enroll(course.id)
    shown = await overview(learner)
    assert shown.active_courses == 12
    assert [current.enrollment.course_title for current in shown.current_courses] == [
        f"{number}" for number in range(11, 1, -1)
    ]
