"""Conversion between quizzes and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import assessment_pb2, course_pb2
from azora.education.v1 import assessment_service_pb2 as pb

from services.education.courses import content as courses_content
from services.education.courses import convert as courses_convert
from services.education.quizzes.model import Answer, AttemptState, correct_options
from services.shared.convert import timestamp
from services.shared.errors import ValidationFailed
from services.shared.validation import refuse_nul

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.education.courses.model import Question
    from services.education.quizzes.model import QuizStatus, ReadAttempt, Result
    from services.shared.pagination import Page


def answers(request: pb.SaveAnswersRequest | pb.SubmitAttemptRequest) -> Mapping[int, Answer]:
    """Return the answers of a request by the question's place. Raises ValidationFailed."""
    refuse_nul(request)
    found: dict[int, Answer] = {}
    for place, answer in enumerate(request.answers):
        if answer.question_index in found:
            raise ValidationFailed.field(f"answers[{place}].questionIndex", "must not repeat")
        found[answer.question_index] = Answer(tuple(sorted(answer.selected_options)), answer.text.strip())
    return found


def quiz_status(model: QuizStatus) -> assessment_pb2.QuizStatus:
    """Return the message of a quiz."""
    standing = model.standing
    counts = standing.result(model.quiz.scoring)
    return assessment_pb2.QuizStatus(
        lesson_id=model.lesson_id,
        title=model.title,
        rules=courses_content.quiz(model.quiz, questions_are_open=False),
        started_attempts=standing.started,
        open_attempt_id=standing.open_attempt_id or "",
        result=result(counts) if counts else None,
        passed=standing.passed,
        locks=[courses_convert.lock(lock) for lock in model.locks],
    )


def result(model: Result) -> assessment_pb2.AttemptResult:
    """Return the message of a result."""
    return assessment_pb2.AttemptResult(
        points=model.points, max_points=model.max_points, basis_points=model.basis_points, passed=model.passed
    )


def attempt(read: ReadAttempt) -> assessment_pb2.Attempt:
    """Return the message of an attempt, without right answers unless they are to be shown."""
    model = read.attempt
    return assessment_pb2.Attempt(
        id=model.id,
        course_id=model.course_id,
        lesson_id=model.lesson_id,
        number=model.number,
        state=assessment_pb2.AttemptState.Value(f"ATTEMPT_STATE_{read.state}"),
        start_time=timestamp(model.start_time),
        deadline=timestamp(model.deadline),
        submit_time=timestamp(model.submit_time),
        pass_basis_points=model.pass_basis_points,
        result=None if read.state is AttemptState.OPEN else result(model.result),
        questions=[
            _question(question, place, model.answers.get(place), with_solution=read.shows_solutions)
            for place, question in enumerate(model.questions)
        ],
    )


def list_quizzes_response(page: Page[QuizStatus]) -> pb.ListQuizzesResponse:
    """Return the answer of ListQuizzes."""
    return pb.ListQuizzesResponse(
        quizzes=[quiz_status(status) for status in page.items], next_page_token=page.next_page_token
    )


def get_quiz_response(status: QuizStatus) -> pb.GetQuizResponse:
    """Return the answer of GetQuiz."""
    return pb.GetQuizResponse(quiz=quiz_status(status))


def start_attempt_response(read: ReadAttempt) -> pb.StartAttemptResponse:
    """Return the answer of StartAttempt."""
    return pb.StartAttemptResponse(attempt=attempt(read))


def save_answers_response(read: ReadAttempt) -> pb.SaveAnswersResponse:
    """Return the answer of SaveAnswers, without the questions, which the caller has."""
    message = attempt(read)
    message.ClearField("questions")
    return pb.SaveAnswersResponse(attempt=message, answered_questions=len(read.attempt.answers))


def submit_attempt_response(read: ReadAttempt) -> pb.SubmitAttemptResponse:
    """Return the answer of SubmitAttempt."""
    return pb.SubmitAttemptResponse(attempt=attempt(read))


def get_attempt_response(read: ReadAttempt) -> pb.GetAttemptResponse:
    """Return the answer of GetAttempt."""
    return pb.GetAttemptResponse(attempt=attempt(read))


def list_attempts_response(page: Page[ReadAttempt]) -> pb.ListAttemptsResponse:
    """Return the answer of ListAttempts."""
    return pb.ListAttemptsResponse(
        attempts=[attempt(read) for read in page.items], next_page_token=page.next_page_token
    )


def _question(
    question: Question, place: int, answer: Answer | None, *, with_solution: bool
) -> assessment_pb2.AttemptQuestion:
    return assessment_pb2.AttemptQuestion(
        kind=course_pb2.QuestionKind.Value(f"QUESTION_KIND_{question.kind}"),
        prompt=question.prompt,
        options=[option.text for option in question.options],
        points=question.points,
        answer=_answer(place, answer) if answer else None,
        solution=_solution(question, answer) if with_solution else None,
    )


def _answer(place: int, answer: Answer) -> assessment_pb2.AttemptAnswer:
    return assessment_pb2.AttemptAnswer(
        question_index=place, selected_options=answer.selected_options, text=answer.text
    )


def _solution(question: Question, answer: Answer | None) -> assessment_pb2.QuestionSolution:
    return assessment_pb2.QuestionSolution(
        correct=answer is not None and answer.is_right(question),
        correct_options=correct_options(question),
        accepted_answers=question.accepted_answers,
        explanation=question.explanation,
    )
