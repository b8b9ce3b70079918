"""Modules and lessons of a draft: created, updated, moved and deleted, each with the course's etag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azora.education.v1 import course_pb2

from services.shared.ids import new_id
from tests.support.authoring import call, draft, outline
from tests.support.quizzes import quiz, quiz_lesson
from tests.support.refusals import refusal

if TYPE_CHECKING:
    from tests.support.education import RunningEducation

pytestmark = pytest.mark.shared

QUIZ = course_pb2.LESSON_KIND_QUIZ
ARTICLE = course_pb2.LESSON_KIND_ARTICLE


async def test_modules_are_created_where_they_are_asked_for(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.write(modules=[{"title": "A"}])
    for title, position in (("B", None), ("First", 0), ("Last", 50), ("Third", 2)):
        where = {} if position is None else {"position": position}
        made = await call(educator, "CreateModule", course_id=course.id, module={"title": title}, **where)
        assert (made.module.title, made.etag) == (title, (await draft(educator, course.id)).etag)
    assert [title for title, _ in outline(await draft(educator, course.id))] == ["First", "A", "Third", "B", "Last"]


async def test_a_module_is_created_with_its_lessons(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.published()
    module = {"title": "Exam", "sequential": True, "lessons": [quiz_lesson(), {"title": "Read", "required": False}]}
    made = await call(educator, "CreateModule", course_id=course.id, module=module, etag=course.etag)
    drafted = await draft(educator, course.id)
    assert made.module == drafted.modules[2]
    assert (made.module.sequential, drafted.lesson_count) == (True, 6)
    assert [(lesson.required, len(lesson.quiz.questions)) for lesson in made.module.lessons] == [(True, 3), (False, 0)]
    assert (await education.anyone().read(course.id)).lesson_count == 4, "the revision is as it was"
    published = await educator.publish(course.id)
    assert (published.lesson_count, published.modules[2].sequential) == (6, True)


async def test_modules_are_updated(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.write()
    where = {"course_id": course.id, "module_id": course.modules[0].id}
    updated = await call(
        educator, "UpdateModule", **where, module={"title": "Grain", "sequential": True, "etag": course.etag}
    )
    assert (updated.module.title, updated.module.sequential) == ("Grain", True)
    assert list(updated.module.lessons) == list(course.modules[0].lessons)
    off = await call(educator, "UpdateModule", **where, module={"sequential": False})
    assert (off.module.title, off.module.sequential) == ("Grain", False)
    on = await call(educator, "UpdateModule", **where, module={"sequential": True})
    assert on.module.sequential
    cleared = await call(educator, "UpdateModule", **where, module={}, update_mask={"paths": ["sequential"]})
    assert not cleared.module.sequential
    mask = await refusal(call(educator, "UpdateModule", **where, module={}, update_mask={"paths": ["lessons"]}))
    assert (mask.code, mask.reason) == ("INVALID_ARGUMENT", "UPDATE_MASK_INVALID")


async def test_modules_are_moved_and_deleted(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.write(modules=[{"title": title} for title in "ABCD"])
    ids = {module.title: module.id for module in course.modules}
    for title, position, order in (("A", 2, "BCAD"), ("D", 0, "DBCA"), ("D", 99, "BCAD"), ("C", 1, "BCAD")):
        await call(educator, "MoveModule", course_id=course.id, module_id=ids[title], position=position)
        assert [moved for moved, _ in outline(await draft(educator, course.id))] == list(order)
    gone = await call(educator, "DeleteModule", course_id=course.id, module_id=ids["C"])
    assert gone.etag == (await draft(educator, course.id)).etag
    assert [kept for kept, _ in outline(await draft(educator, course.id))] == list("BAD")


async def test_lessons_are_created_and_updated(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.write()
    where: dict[str, Any] = {"course_id": course.id, "module_id": course.modules[1].id}
    made = await call(educator, "CreateLesson", **where, lesson={"title": "Steam", "content": "Wet."}, position=1)
    assert (made.lesson.title, made.lesson.kind, made.lesson.required) == ("Steam", ARTICLE, True)
    assert outline(await draft(educator, course.id))[1] == ("Fire", ["Baking", "Steam", "Ovens"])
    await call(educator, "CreateLesson", **where, lesson=quiz_lesson())
    drafted = await draft(educator, course.id)
    assert (drafted.lesson_count, drafted.modules[1].lessons[3].kind) == (6, QUIZ)
    where |= {"lesson_id": made.lesson.id}
    changes = {
        "title": "Vapour",
        "kind": course_pb2.LESSON_KIND_EXERCISE,
        "required": False,
        "content": "",
        "etag": drafted.etag,
    }
    updated = (await call(educator, "UpdateLesson", **where, lesson=changes)).lesson
    assert (updated.id, updated.title, updated.content) == (made.lesson.id, "Vapour", "")
    assert (updated.kind, updated.required) == (course_pb2.LESSON_KIND_EXERCISE, False)
    stale = await refusal(call(educator, "UpdateLesson", **where, lesson=changes | {"title": "Fog"}))
    assert (stale.code, stale.reason) == ("ABORTED", "ETAG_MISMATCH")
    mask = {"paths": ["required"]}
    kept = (await call(educator, "UpdateLesson", **where, lesson={"required": True}, update_mask=mask)).lesson
    assert (kept.title, kept.required) == ("Vapour", True)


async def test_a_lesson_becomes_a_quiz_with_its_questions_alone(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.write()
    where = {"course_id": course.id, "module_id": course.modules[0].id, "lesson_id": course.modules[0].lessons[0].id}
    for lesson in ({"kind": QUIZ}, {"quiz": quiz()}):
        refused = await refusal(call(educator, "UpdateLesson", **where, lesson=lesson))
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "QUIZ_MISMATCH")
    made = (await call(educator, "UpdateLesson", **where, lesson={"kind": QUIZ, "quiz": quiz()})).lesson
    assert (made.kind, len(made.quiz.questions)) == (QUIZ, 3)
    shorter = quiz(draw_count=1, scoring=course_pb2.QUIZ_SCORING_LATEST)
    changed = (await call(educator, "UpdateLesson", **where, lesson={"quiz": shorter})).lesson
    assert (changed.quiz.draw_count, changed.quiz.scoring) == (1, course_pb2.QUIZ_SCORING_LATEST)
    assert (await refusal(call(educator, "UpdateLesson", **where, lesson={"kind": ARTICLE}))).reason == "QUIZ_MISMATCH"
    mask = {"paths": ["kind", "quiz"]}
    plain = (await call(educator, "UpdateLesson", **where, lesson={}, update_mask=mask)).lesson
    assert (plain.kind, plain.HasField("quiz"), plain.title) == (ARTICLE, False, "Flour")


async def test_lessons_are_moved_within_and_between_modules(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.write()
    bread, fire = course.modules
    flour = bread.lessons[0]
    where = {"course_id": course.id, "lesson_id": flour.id}
    await call(educator, "MoveLesson", **where, module_id=bread.id, position=1)
    assert outline(await draft(educator, course.id))[0] == ("Flour and water", ["Water", "Flour"])
    moved = await call(educator, "MoveLesson", **where, module_id=bread.id, target_module_id=fire.id, position=1)
    drafted = await draft(educator, course.id)
    assert moved.etag == drafted.etag
    assert outline(drafted) == [("Flour and water", ["Water"]), ("Fire", ["Baking", "Flour", "Ovens"])]
    assert drafted.modules[1].lessons[1] == flour
    assert (await refusal(call(educator, "MoveLesson", **where, module_id=bread.id))).reason == "LESSON_NOT_FOUND"
    nowhere = call(educator, "MoveLesson", **where, module_id=fire.id, target_module_id=new_id())
    assert (await refusal(nowhere)).reason == "MODULE_NOT_FOUND"
    assert await draft(educator, course.id) == drafted


async def test_a_deleted_lesson_stays_in_revisions(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    course = await educator.published()
    enrollment = await learner.enroll(course.id)
    flour = course.modules[0].lessons[0]
    where = {"course_id": course.id, "module_id": course.modules[0].id, "lesson_id": flour.id}
    await call(educator, "DeleteLesson", **where, etag=course.etag)
    assert outline(await draft(educator, course.id))[0] == ("Flour and water", ["Water"])
    assert (await educator.publish(course.id)).lesson_count == 3
    assert (await learner.complete(enrollment.id, flour.id)).progress.completed_lessons == 1
    assert (await refusal(call(educator, "DeleteLesson", **where))).reason == "LESSON_NOT_FOUND"


@pytest.mark.parametrize(
    "rpc", ["UpdateModule", "DeleteModule", "MoveModule", "CreateLesson", "UpdateLesson", "DeleteLesson", "MoveLesson"]
)
async def test_what_is_not_there_is_not_found(education: RunningEducation, rpc: str) -> None:
    educator = education.educator()
    course, other = await educator.write(), await educator.write()
    fields: dict[str, Any] = {
        "UpdateModule": {"module": {"title": "X"}},
        "CreateLesson": {"lesson": {"title": "X"}},
        "UpdateLesson": {"lesson": {"title": "X"}},
    }.get(rpc, {})
    if rpc.endswith("Lesson") and rpc != "CreateLesson":
        fields |= {"lesson_id": course.modules[0].lessons[0].id}
        elsewhere = await refusal(call(educator, rpc, course_id=course.id, module_id=course.modules[1].id, **fields))
        assert (elsewhere.code, elsewhere.reason) == ("NOT_FOUND", "LESSON_NOT_FOUND")
    refused = await refusal(call(educator, rpc, course_id=course.id, module_id=other.modules[0].id, **fields))
    assert (refused.code, refused.reason) == ("NOT_FOUND", "MODULE_NOT_FOUND")


async def test_every_save_is_bounded(education: RunningEducation) -> None:
    educator = education.educator()
    lessons = [{"title": "L"}] * 100
    course = await educator.write(modules=[{"title": "M", "lessons": lessons}] * 5)
    module = course.modules[0].id
    for rpc, fields in (
        ("CreateLesson", {"module_id": module, "lesson": {"title": "X"}}),
        ("CreateModule", {"module": {"title": "X", "lessons": [{"title": "X"}]}}),
    ):
        many = await refusal(call(educator, rpc, course_id=course.id, **fields))
        assert (many.code, many.reason, many.metadata["lessons"]) == ("INVALID_ARGUMENT", "COURSE_TOO_LARGE", "501")
    text = "x" * 50_000
    for lesson in course.modules[0].lessons[:20]:
        where = {"course_id": course.id, "module_id": module, "lesson_id": lesson.id}
        await call(educator, "UpdateLesson", **where, lesson={"content": text})
    where |= {"lesson_id": course.modules[0].lessons[20].id}
    large = await refusal(call(educator, "UpdateLesson", **where, lesson={"content": text}))
    assert (large.reason, int(large.metadata["bytes"]) > 1024 * 1024) == ("COURSE_TOO_LARGE", True)
    wide = await educator.write(modules=[{"title": "M"}] * 100)
    full = await refusal(call(educator, "CreateModule", course_id=wide.id, module={"title": "X"}))
    assert (full.reason, full.metadata["modules"]) == ("COURSE_TOO_LARGE", "101")
