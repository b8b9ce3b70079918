"""Quizzes, sequential modules, languages and durations as courses have them, and who is shown what."""

from __future__ import annotations

from typing import Any

import pytest
from azora.education.v1 import course_pb2
from azora.education.v1 import course_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from services.shared.ids import new_id
from tests.support.education import MODULES, RunningEducation
from tests.support.quizzes import quiz, quiz_lesson
from tests.support.refusals import refusal

pytestmark = pytest.mark.shared

DRAFT = course_pb2.COURSE_VIEW_DRAFT
WITH_QUIZ = [
    *MODULES,
    pb.NewModule(
        title="Exam",
        sequential=True,
        lessons=[quiz_lesson(draw_count=2, max_attempts=3, time_limit=Duration(seconds=600))],
    ),
]


async def test_what_a_course_is_written_with_comes_back(education: RunningEducation) -> None:
    educator, prerequisites = education.educator(), [new_id(), new_id()]
    written = await educator.write(
        modules=WITH_QUIZ, language="PT-br", duration=Duration(seconds=36_000), prerequisites=prerequisites
    )
    for course in (written, await educator.read(written.id, view=DRAFT)):
        assert (course.language, course.duration.seconds, list(course.prerequisites)) == (
            "pt-BR",
            36_000,
            prerequisites,
        )
        assert [module.sequential for module in course.modules] == [False, False, True]
        (exam,) = course.modules[2].lessons
        assert exam.kind == course_pb2.LESSON_KIND_QUIZ
        given = quiz(draw_count=2, max_attempts=3, time_limit=Duration(seconds=600))
        given.scoring = course_pb2.QUIZ_SCORING_HIGHEST
        given.questions[0].kind = course_pb2.QUESTION_KIND_SINGLE_CHOICE
        given.questions[0].points = given.questions[2].points = 1
        assert exam.quiz == given
    bare = await educator.read((await educator.write()).id, view=DRAFT)
    assert (bare.language, bare.HasField("duration"), list(bare.prerequisites)) == ("", False, [])


async def test_questions_are_shown_in_the_draft_view_alone(education: RunningEducation) -> None:
    educator, learner, admin = education.educator(), education.person(), education.admin()
    course = await educator.published(modules=WITH_QUIZ)
    await learner.enroll(course.id)
    revisions = [await reader.read(course.id) for reader in (learner, educator, admin, education.anyone())]
    for shown in (course, *revisions, await educator.read(course.id, revision=1)):
        rules = shown.modules[2].lessons[0].quiz
        assert not rules.questions
        assert (rules.draw_count, rules.pass_basis_points, rules.max_attempts) == (2, 5000, 3)
        assert rules.time_limit.seconds == 600
    for editor in (educator, admin):
        assert len((await editor.read(course.id, view=DRAFT)).modules[2].lessons[0].quiz.questions) == 3
    for other in (learner, education.educator(), education.anyone()):
        hidden = await refusal(other.read(course.id, view=DRAFT))
        assert (hidden.code, hidden.reason) == ("NOT_FOUND", "COURSE_NOT_FOUND")
    both = await refusal(educator.read(course.id, view=DRAFT, revision=1))
    assert (both.code, both.reason) == ("INVALID_ARGUMENT", "VALIDATION_FAILED")


async def test_a_quiz_of_all_its_questions_says_how_many(education: RunningEducation) -> None:
    course = await education.educator().published(modules=[pb.NewModule(title="Exam", lessons=[quiz_lesson()])])
    rules = course.modules[0].lessons[0].quiz
    assert (rules.draw_count, rules.HasField("max_attempts"), rules.HasField("time_limit")) == (3, False, False)


CHOICE = course_pb2.QuizQuestion(prompt="?", options=[course_pb2.QuizOption(text="a", correct=True)] * 2)
TEXT = course_pb2.QuizQuestion(
    prompt="?", kind=course_pb2.QUESTION_KIND_SHORT_TEXT, options=[course_pb2.QuizOption(text="a")]
)
NONE_CORRECT = course_pb2.QuizQuestion(
    prompt="?", kind=course_pb2.QUESTION_KIND_MULTIPLE_CHOICE, options=[course_pb2.QuizOption(text="a")] * 2
)

NONE_OF_20 = [course_pb2.QuizOption(text="b")] * 19


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"questions": []}, "quiz.questions"),
        ({"draw_count": 4}, "quiz"),
        ({"pass_basis_points": 0}, "quiz.passBasisPoints"),
        ({"pass_basis_points": 10_001}, "quiz.passBasisPoints"),
        ({"max_attempts": 0}, "quiz.maxAttempts"),
        ({"time_limit": Duration(seconds=1)}, "quiz.timeLimit"),
        ({"time_limit": Duration(seconds=60, nanos=1)}, "quiz.timeLimit"),
        ({"scoring": 9}, "quiz.scoring"),
        ({"questions": [CHOICE]}, "quiz.questions[0]"),
        ({"questions": [TEXT]}, "quiz.questions[0]"),
        ({"questions": [NONE_CORRECT]}, "quiz.questions[0]"),
    ],
)
async def test_a_quiz_that_cannot_be_taken_is_refused(
    education: RunningEducation, changes: dict[str, Any], field: str
) -> None:
    refused = await refusal(
        education.educator().write(modules=[pb.NewModule(title="M", lessons=[quiz_lesson(**changes)])])
    )
    assert refused.code == "INVALID_ARGUMENT"
    assert f"modules[0].lessons[0].{field}" in refused.fields


async def test_a_lesson_has_a_quiz_if_it_is_one(education: RunningEducation) -> None:
    for lesson in (
        pb.NewLesson(title="Test", kind=course_pb2.LESSON_KIND_QUIZ),
        pb.NewLesson(title="Text", quiz=quiz()),
    ):
        refused = await refusal(education.educator().write(modules=[pb.NewModule(title="M", lessons=[lesson])]))
        assert (refused.code, refused.fields) == ("INVALID_ARGUMENT", ("modules[0].lessons[0]",))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"language": "english please"}, "language"),
        ({"language": "e"}, "language"),
        ({"duration": Duration(seconds=-1)}, "duration"),
        ({"duration": Duration(seconds=1, nanos=5)}, "duration"),
        ({"prerequisites": ["x"]}, "prerequisites[0]"),
        ({"prerequisites": [new_id()] * 2}, "prerequisites"),
        ({"prerequisites": [new_id() for _ in range(21)]}, "prerequisites"),
    ],
)
async def test_what_a_course_cannot_have_is_refused(
    education: RunningEducation, changes: dict[str, Any], field: str
) -> None:
    refused = await refusal(education.educator().write(**changes))
    assert (refused.code, refused.fields) == ("INVALID_ARGUMENT", (field,))


async def test_a_course_is_bounded_in_lessons_and_bytes(education: RunningEducation) -> None:
    educator = education.educator()

    def lessons(*, count: int, content: str = "") -> list[pb.NewModule]:
        return [
            pb.NewModule(title="M", lessons=[pb.NewLesson(title="L", content=content)] * min(100, count - start))
            for start in range(0, count, 100)
        ]

    assert (await educator.write(modules=lessons(count=500))).lesson_count == 500
    many = await refusal(educator.write(modules=lessons(count=501)))
    assert (many.code, many.reason, many.metadata["lessons"]) == ("INVALID_ARGUMENT", "COURSE_TOO_LARGE", "501")
    # Less than 1 MiB as a request, more with the ids that a course has.
    large = await refusal(educator.write(modules=lessons(count=400, content="x" * 2590)))
    assert (large.reason, int(large.metadata["bytes"]) > 1024 * 1024) == ("COURSE_TOO_LARGE", True)
    pool = [course_pb2.QuizQuestion(prompt="?", options=[*CHOICE.options[:1], *NONE_OF_20])] * 100
    exams = [pb.NewModule(title="M", lessons=[quiz_lesson(questions=pool)] * 5)]
    detailed = await refusal(educator.write(modules=exams))
    assert (detailed.reason, detailed.metadata["elements"]) == ("COURSE_TOO_LARGE", "10506")
    assert [len((await educator.list(mine=True)).courses)] == [1], "nothing is left of what was refused"
