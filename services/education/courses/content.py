"""Conversion between modules, lessons, quizzes and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import course_pb2
from azora.education.v1 import course_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from services.education.courses.edits import LessonChanges, ModuleChanges
from services.education.courses.model import (
    CourseContent,
    Lesson,
    LessonKind,
    Module,
    Option,
    Question,
    QuestionKind,
    Quiz,
    QuizScoring,
)
from services.shared.errors import UpdateMaskInvalid, ValidationFailed
from services.shared.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from google.protobuf.message import Message

    from services.education.courses.model import ReadCourse

MODULE_FIELDS = ("title", "sequential")
LESSON_FIELDS = ("title", "kind", "required", "content", "quiz")
MAX_PATH_CHARACTERS = 100


def content(described: Iterable[pb.NewModule]) -> CourseContent:
    """Return the modules that a request describes, with ids for them and their lessons."""
    return CourseContent(tuple(new_module(module) for module in described))


def modules(read: ReadCourse) -> list[course_pb2.Module]:
    """Return the messages of a course's modules, with what their reader gets of them."""
    return [module(model, read) for model in read.content.modules]


def module(model: Module, read: ReadCourse) -> course_pb2.Module:
    """Return the message of a module, with what its reader gets of it."""
    return course_pb2.Module(
        id=model.id,
        title=model.title,
        sequential=model.sequential,
        lessons=[lesson(contained, read) for contained in model.lessons],
    )


def lesson(model: Lesson, read: ReadCourse) -> course_pb2.Lesson:
    """Return the message of a lesson, with what its reader gets of it."""
    return course_pb2.Lesson(
        id=model.id,
        title=model.title,
        kind=course_pb2.LessonKind.Value(f"LESSON_KIND_{model.kind}"),
        required=model.required,
        content=model.content if read.lessons_are_open else "",
        quiz=quiz(model.quiz, questions_are_open=read.questions_are_open) if model.quiz else None,
    )


def described(model: CourseContent) -> list[pb.NewModule]:
    """Return the messages that describe modules without their ids, as `content` reads them."""
    return [
        pb.NewModule(
            title=described.title,
            sequential=described.sequential,
            lessons=[_described(lesson) for lesson in described.lessons],
        )
        for described in model.modules
    ]


def new_module(described: pb.NewModule) -> Module:
    """Return the module that a request describes, with ids for it and its lessons."""
    lessons = tuple(new_lesson(lesson) for lesson in described.lessons)
    return Module(new_id(), described.title, lessons, sequential=described.sequential)


def new_lesson(described: pb.NewLesson) -> Lesson:
    """Return the lesson that a request describes, with an id."""
    return Lesson(
        id=new_id(),
        title=described.title,
        kind=_kind(described.kind),
        required=described.required if described.HasField("required") else True,
        content=described.content,
        quiz=_new_quiz(described.quiz) if described.HasField("quiz") else None,
    )


def module_changes(request: pb.UpdateModuleRequest) -> ModuleChanges:
    """Return the changes of a module. Raises UpdateMaskInvalid, ValidationFailed."""
    fields = changed_fields(request.module, request.update_mask.paths, MODULE_FIELDS)
    return ModuleChanges(fields, request.module.title, request.module.sequential)


def lesson_changes(request: pb.UpdateLessonRequest) -> LessonChanges:
    """Return the changes of a lesson. Raises UpdateMaskInvalid, ValidationFailed."""
    changes = request.lesson
    return LessonChanges(
        fields=changed_fields(changes, request.update_mask.paths, LESSON_FIELDS),
        title=changes.title,
        kind=_kind(changes.kind),
        required=changes.required,
        content=changes.content,
        quiz=_new_quiz(changes.quiz) if changes.HasField("quiz") else None,
    )


def changed_fields(changes: Message, paths: Sequence[str], mutable: Sequence[str]) -> frozenset[str]:
    """Return the fields that a mask names, or without one those that are present.

    Raises UpdateMaskInvalid for a path that cannot be updated; ValidationFailed for a title that is to be empty.
    """
    present = [field.name for field, _ in changes.ListFields() if field.name in mutable]
    for path in paths:
        if path not in mutable:
            raise UpdateMaskInvalid(path=path[:MAX_PATH_CHARACTERS])
    if "title" in paths and "title" not in present:
        raise ValidationFailed.field("title", "must not be empty")
    return frozenset(paths or present)


def quiz(model: Quiz, *, questions_are_open: bool) -> course_pb2.Quiz:
    """Return the message of a quiz: all of it, or its rules without the questions."""
    return course_pb2.Quiz(
        questions=[_question(question) for question in model.questions] if questions_are_open else [],
        draw_count=model.draw_count if questions_are_open else model.questions_per_attempt,
        pass_basis_points=model.pass_basis_points,
        max_attempts=model.max_attempts,
        time_limit=duration(model.time_limit_seconds),
        scoring=course_pb2.QuizScoring.Value(f"QUIZ_SCORING_{model.scoring}"),
    )


def duration(seconds: int | None) -> Duration | None:
    """Return the message of a time; None and 0 stay unset."""
    return Duration(seconds=seconds) if seconds else None


def _kind(kind: course_pb2.LessonKind.ValueType) -> LessonKind:
    name = course_pb2.LessonKind.Name(kind or course_pb2.LESSON_KIND_ARTICLE)
    return LessonKind(name.removeprefix("LESSON_KIND_"))


def _new_quiz(described: course_pb2.Quiz) -> Quiz:
    scoring = course_pb2.QuizScoring.Name(described.scoring or course_pb2.QUIZ_SCORING_HIGHEST)
    return Quiz(
        questions=tuple(_new_question(question) for question in described.questions),
        draw_count=described.draw_count,
        pass_basis_points=described.pass_basis_points,
        max_attempts=described.max_attempts if described.HasField("max_attempts") else None,
        time_limit_seconds=described.time_limit.seconds or None,
        scoring=QuizScoring(scoring.removeprefix("QUIZ_SCORING_")),
    )


def _new_question(described: course_pb2.QuizQuestion) -> Question:
    kind = course_pb2.QuestionKind.Name(described.kind or course_pb2.QUESTION_KIND_SINGLE_CHOICE)
    return Question(
        kind=QuestionKind(kind.removeprefix("QUESTION_KIND_")),
        prompt=described.prompt,
        options=tuple(Option(option.text, option.correct) for option in described.options),
        accepted_answers=tuple(described.accepted_answers),
        explanation=described.explanation,
        points=described.points or 1,
    )


def _described(model: Lesson) -> pb.NewLesson:
    return pb.NewLesson(
        title=model.title,
        kind=course_pb2.LessonKind.Value(f"LESSON_KIND_{model.kind}"),
        required=model.required,
        content=model.content,
        quiz=quiz(model.quiz, questions_are_open=True) if model.quiz else None,
    )


def _question(question: Question) -> course_pb2.QuizQuestion:
    return course_pb2.QuizQuestion(
        kind=course_pb2.QuestionKind.Value(f"QUESTION_KIND_{question.kind}"),
        prompt=question.prompt,
        options=[course_pb2.QuizOption(text=option.text, correct=option.correct) for option in question.options],
        accepted_answers=question.accepted_answers,
        explanation=question.explanation,
        points=question.points,
    )
