"""Import and export of a course as one document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azora.education.v1 import course_pb2
from azora.education.v1 import course_service_pb2 as pb
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode, aio

from services.shared.ids import new_id
from tests.support.authoring import call, draft, update
from tests.support.education import MODULES, azr, lesson_ids
from tests.support.quizzes import quiz, quiz_lesson
from tests.support.refusals import refusal

if TYPE_CHECKING:
    from tests.support.education import Person, RunningEducation

pytestmark = pytest.mark.shared


async def _exported(person: Person, course_id: str, revision: int = 0) -> pb.CourseDocument:
    document: pb.CourseDocument = (await call(person, "ExportCourse", course_id=course_id, revision=revision)).document
    return document


async def _imported(person: Person, document: pb.CourseDocument) -> course_pb2.Course:
    course: course_pb2.Course = (await call(person, "ImportCourse", document=document)).course
    return course


def _json(document: pb.CourseDocument) -> dict[str, Any]:
    """Return a document as clients see it, with defaults printed."""
    return json_format.MessageToDict(document, always_print_fields_with_no_presence=True)


async def test_what_is_exported_is_imported_and_exported_alike(education: RunningEducation) -> None:
    educator, other = education.educator(), education.educator()
    exam = quiz_lesson(draw_count=2, max_attempts=2, time_limit=Duration(seconds=90), scoring="QUIZ_SCORING_LATEST")
    course = await education.admin().write(
        educator_id=educator.id,
        title="Sauerteig \U0001f35e \"'<b>\\",
        price=azr(4900),
        completion_reward=azr(100),
        capacity=0,
        language="de-AT",
        duration=Duration(seconds=3600),
        prerequisites=[new_id()],
        modules=[*MODULES, pb.NewModule(title="Exam", sequential=True, lessons=[exam]), pb.NewModule(title="Later")],
    )
    exported = await _exported(educator, course.id)
    imported = await _imported(other, exported)
    assert await _exported(other, imported.id) == exported
    assert _json(await _exported(other, imported.id)) == _json(exported)
    read_from_json = json_format.Parse(json_format.MessageToJson(exported), pb.CourseDocument())
    assert await _exported(other, (await _imported(other, read_from_json)).id) == exported


async def test_an_import_is_a_draft_of_the_callers(education: RunningEducation) -> None:
    educator, other = education.educator(), education.educator()
    course = await education.admin().published(educator_id=educator.id, completion_reward=azr(100))
    imported = await _imported(other, await _exported(educator, course.id))
    assert (imported.state, imported.educator_id) == (course_pb2.COURSE_STATE_DRAFT, other.id)
    assert (imported.revision, imported.completion_reward) == (0, azr(0))
    for of in (lambda read: [module.id for module in read.modules], lesson_ids):
        assert set(of(imported)).isdisjoint(of(course))
    assert (await other.publish(imported.id)).revision == 1


async def test_an_export_holds_no_ids_owner_state_or_reward(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.published()
    document = _json(await _exported(educator, course.id))
    assert set(document) == {
        *("title", "description", "price", "language", "prerequisites", "modules"),
    }
    assert set(document["modules"][0]) == {"title", "lessons", "sequential"}
    assert set(document["modules"][0]["lessons"][0]) == {"title", "content", "required", "kind"}


async def test_a_revision_is_exported_by_its_number(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.published()
    await update(educator, course.id, title="Rye")
    assert (await _exported(educator, course.id)).title == "Rye"
    assert (await _exported(educator, course.id, revision=1)).title == "Sourdough"
    unknown = await refusal(_exported(educator, course.id, revision=2))
    assert (unknown.code, unknown.reason) == ("NOT_FOUND", "COURSE_REVISION_NOT_FOUND")


async def test_right_answers_leave_with_an_editors_export_alone(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.published(modules=[pb.NewModule(title="Exam", lessons=[quiz_lesson()])])
    for revision in (0, 1):
        exported = await _exported(educator, course.id, revision)
        assert len(exported.modules[0].lessons[0].quiz.questions) == 3
    assert (await refusal(_exported(education.person(), course.id))).reason == "ACCESS_DENIED"
    assert (await refusal(_exported(education.educator(), course.id))).reason == "COURSE_NOT_FOUND"


LESSON = pb.NewLesson(title="L")


@pytest.mark.parametrize(
    "changes",
    [
        {"title": ""},
        {"title": "a\0b"},
        {"modules": [pb.NewModule(title="M", lessons=[pb.NewLesson(title="L", content="a\0b")])]},
        {"title": "x" * 201},
        {"price": azr(-1)},
        {"capacity": -1},
        {"language": "../../etc/passwd"},
        {"duration": Duration(seconds=-5)},
        {"duration": Duration(seconds=2**62)},
        {"prerequisites": ["'; DROP TABLE courses; --"]},
        {"modules": [pb.NewModule(title="M")] * 101},
        {"modules": [pb.NewModule(title="M", lessons=[LESSON] * 501)]},
        {"modules": [pb.NewModule(title="M", lessons=[LESSON] * 300)] * 2},
        {"modules": [pb.NewModule(title="M", lessons=[pb.NewLesson(title="L", content="x" * 50_001)])]},
        {"modules": [pb.NewModule(title="M", lessons=[pb.NewLesson(title="L", quiz=quiz())])]},
        {"modules": [pb.NewModule(title="M", lessons=[quiz_lesson(questions=[])])]},
        {"modules": [pb.NewModule()] * 100},
    ],
)
async def test_a_broken_or_hostile_document_leaves_nothing(
    education: RunningEducation, changes: dict[str, Any]
) -> None:
    educator = education.educator()
    fields: dict[str, Any] = {"title": "Sourdough"}
    refused = await refusal(_imported(educator, pb.CourseDocument(**fields | changes)))
    assert refused.code == "INVALID_ARGUMENT"
    assert not (await educator.list(mine=True)).courses


async def test_a_document_larger_than_a_message_is_refused(education: RunningEducation) -> None:
    educator = education.educator()
    lessons = [pb.NewLesson(title="L", content="x" * 50_000)] * 22
    with pytest.raises(aio.AioRpcError) as refused:
        await _imported(educator, pb.CourseDocument(title="T", modules=[pb.NewModule(title="M", lessons=lessons)]))
    assert refused.value.code() is StatusCode.RESOURCE_EXHAUSTED
    assert not (await educator.list(mine=True)).courses


async def test_markup_is_text(education: RunningEducation) -> None:
    educator = education.educator()
    hostile = "<script>alert(1)</script> {{7*7}} $(reboot) %s \u202e \r\n"
    document = pb.CourseDocument(
        title=hostile, modules=[pb.NewModule(title=hostile, lessons=[pb.NewLesson(title=hostile)])]
    )
    assert (await draft(educator, (await _imported(educator, document)).id)).modules[0].lessons[0].title == hostile
