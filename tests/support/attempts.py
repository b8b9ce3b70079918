"""Quizzes for tests, and what a person does with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azora.education.v1 import (
    assessment_pb2,
    assessment_service_pb2,
    assessment_service_pb2_grpc,
    course_pb2,
    course_service_pb2,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.education import Person

RYE = course_pb2.QuizQuestion(
    prompt="Which flour has most bran?",
    options=[
        course_pb2.QuizOption(text="Wheat"),
        course_pb2.QuizOption(text="Rye", correct=True),
        course_pb2.QuizOption(text="Rice"),
    ],
    explanation="Rye is milled whole.",
    points=2,
)
LEAVEN = course_pb2.QuizQuestion(
    kind=course_pb2.QUESTION_KIND_MULTIPLE_CHOICE,
    prompt="What makes dough rise?",
    options=[
        course_pb2.QuizOption(text="Yeast", correct=True),
        course_pb2.QuizOption(text="Salt"),
        course_pb2.QuizOption(text="Leaven", correct=True),
    ],
)
CRUST = course_pb2.QuizQuestion(
    kind=course_pb2.QUESTION_KIND_SHORT_TEXT,
    prompt="What is the outside of bread called?",
    accepted_answers=["The crust", "crust"],
)
POOL = (RYE, LEAVEN, CRUST)
RIGHT = {
    RYE.prompt: assessment_pb2.AttemptAnswer(selected_options=[1]),
    LEAVEN.prompt: assessment_pb2.AttemptAnswer(selected_options=[2, 0]),
    CRUST.prompt: assessment_pb2.AttemptAnswer(text="  CRUST "),
}
WRONG = {
    RYE.prompt: assessment_pb2.AttemptAnswer(selected_options=[0]),
    LEAVEN.prompt: assessment_pb2.AttemptAnswer(selected_options=[0]),
    CRUST.prompt: assessment_pb2.AttemptAnswer(text="crumb"),
}


def quiz_module(*, required: bool = True, title: str = "What have you learned?", **rules: Any) -> Any:
    """Return a module with one lesson, a quiz that half of the points pass unless `rules` say otherwise."""
    fields: dict[str, Any] = {"questions": POOL, "pass_basis_points": 5000}
    quiz = course_pb2.Quiz(**fields | rules)
    lesson = course_service_pb2.NewLesson(title=title, kind=course_pb2.LESSON_KIND_QUIZ, required=required, quiz=quiz)
    return course_service_pb2.NewModule(title="Test", lessons=[lesson])


@dataclass(frozen=True, slots=True)
class Examinee:
    """A person at the quiz of a course."""

    person: Person
    course_id: str
    lesson_id: str

    @property
    def stub(self) -> assessment_service_pb2_grpc.AssessmentServiceAsyncStub:
        """Return the stub of AssessmentService."""
        return assessment_service_pb2_grpc.AssessmentServiceStub(self.person.education.channel)

    async def quiz(self) -> assessment_pb2.QuizStatus:
        """Read the quiz."""
        request = assessment_service_pb2.GetQuizRequest(course_id=self.course_id, lesson_id=self.lesson_id)
        return (await self.stub.GetQuiz(request, metadata=self.person.metadata)).quiz

    async def quizzes(self, *, page_size: int = 0, page_token: str = "") -> assessment_service_pb2.ListQuizzesResponse:
        """List the quizzes of the course."""
        request = assessment_service_pb2.ListQuizzesRequest(
            course_id=self.course_id, page_size=page_size, page_token=page_token
        )
        return await self.stub.ListQuizzes(request, metadata=self.person.metadata)

    async def start(self, *, key: str = "") -> assessment_pb2.Attempt:
        """Start an attempt."""
        request = assessment_service_pb2.StartAttemptRequest(
            course_id=self.course_id, lesson_id=self.lesson_id, request_id=key
        )
        return (await self.stub.StartAttempt(request, metadata=self.person.metadata)).attempt

    async def save(
        self, attempt_id: str, answers: Sequence[assessment_pb2.AttemptAnswer]
    ) -> assessment_service_pb2.SaveAnswersResponse:
        """Save answers."""
        request = assessment_service_pb2.SaveAnswersRequest(attempt_id=attempt_id, answers=answers)
        return await self.stub.SaveAnswers(request, metadata=self.person.metadata)

    async def submit(
        self, attempt_id: str, answers: Sequence[assessment_pb2.AttemptAnswer] = (), *, key: str = ""
    ) -> assessment_pb2.Attempt:
        """Submit an attempt."""
        request = assessment_service_pb2.SubmitAttemptRequest(attempt_id=attempt_id, answers=answers, request_id=key)
        return (await self.stub.SubmitAttempt(request, metadata=self.person.metadata)).attempt

    async def attempt(self, attempt_id: str) -> assessment_pb2.Attempt:
        """Read an attempt."""
        request = assessment_service_pb2.GetAttemptRequest(attempt_id=attempt_id)
        return (await self.stub.GetAttempt(request, metadata=self.person.metadata)).attempt

    async def attempts(
        self, *, page_size: int = 0, page_token: str = ""
    ) -> assessment_service_pb2.ListAttemptsResponse:
        """List the attempts."""
        request = assessment_service_pb2.ListAttemptsRequest(
            course_id=self.course_id, lesson_id=self.lesson_id, page_size=page_size, page_token=page_token
        )
        return await self.stub.ListAttempts(request, metadata=self.person.metadata)

    async def fail(self) -> assessment_pb2.Attempt:
        """Make an attempt with wrong answers."""
        attempt = await self.start()
        return await self.submit(attempt.id, answers_to(attempt, WRONG))

    async def succeed(self) -> assessment_pb2.Attempt:
        """Make an attempt with right answers."""
        attempt = await self.start()
        return await self.submit(attempt.id, answers_to(attempt, RIGHT))

    async def expire(self, attempt_id: str) -> None:
        """Have the deadline of an attempt pass."""
        await self.person.education.sql(
            "UPDATE quiz_attempts SET deadline = now() - interval '1 second' WHERE id = $1", attempt_id
        )


async def examinee(course: course_pb2.Course, person: Person, *, place: int = 0) -> Examinee:
    """Enrol a person in a course with quizzes, and return them at one of these."""
    quizzes = [
        lesson.id
        for module in course.modules
        for lesson in module.lessons
        if lesson.kind == course_pb2.LESSON_KIND_QUIZ
    ]
    await person.enroll(course.id)
    return Examinee(person, course.id, quizzes[place])


def answers_to(
    attempt: assessment_pb2.Attempt, known: dict[str, assessment_pb2.AttemptAnswer]
) -> list[assessment_pb2.AttemptAnswer]:
    """Return answers to the questions of an attempt, as they are known by their prompts."""
    answers = []
    for index, question in enumerate(attempt.questions):
        if question.prompt in known:
            answer = assessment_pb2.AttemptAnswer()
            answer.CopyFrom(known[question.prompt])
            answer.question_index = index
            answers.append(answer)
    return answers
