"""Attempts at quizzes without a database: what is right, what passes, and when right answers are told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.education.courses.model import Option, Question, QuestionKind, QuizScoring
from services.education.quizzes.model import Answer, Attempt, AttemptState, Result, Standing, grade

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
OPTIONS = (Option("a", correct=False), Option("b", correct=True), Option("c", correct=True))
SINGLE = Question(QuestionKind.SINGLE_CHOICE, "?", OPTIONS[:2], (), "", 1)
MULTIPLE = Question(QuestionKind.MULTIPLE_CHOICE, "?", OPTIONS, (), "", 2)
SHORT = Question(QuestionKind.SHORT_TEXT, "?", (), ("Ubuntu Philosophy", "café"), "", 3)
QUESTIONS = (SINGLE, MULTIPLE, SHORT)
ATTEMPT = Attempt(
    id="a",
    enrollment_id="e",
    user_id="u",
    course_id="c",
    lesson_id="l",
    number=1,
    pass_basis_points=5000,
    max_attempts=3,
    questions=QUESTIONS,
    answers={},
    result=Result(0, 6, passed=False),
    start_time=NOW,
    deadline=NOW + MINUTE,
    submit_time=None,
    grade_time=None,
)


@pytest.mark.parametrize(
    ("question", "answer", "right"),
    [
        (SINGLE, Answer((1,)), True),
        (SINGLE, Answer((0,)), False),
        (SINGLE, Answer(), False),
        (MULTIPLE, Answer((1, 2)), True),
        (MULTIPLE, Answer((2, 1)), True),
        (MULTIPLE, Answer((1,)), False),
        (MULTIPLE, Answer((0, 1, 2)), False),
        (SHORT, Answer(text="  ubuntu   PHILOSOPHY "), True),
        (SHORT, Answer(text="cafe\u0301"), True),
        (SHORT, Answer(text="ubuntuphilosophy"), False),
        (SHORT, Answer(text=""), False),
    ],
)
def test_an_answer_is_right_or_earns_nothing(question: Question, answer: Answer, right: bool) -> None:
    assert answer.is_right(question) is right
    assert grade((question,), {0: answer}, 1).points == (question.points if right else 0)


@pytest.mark.parametrize(
    ("question", "answer", "allowed"),
    [
        (SINGLE, Answer((0, 1)), False),
        (SINGLE, Answer((2,)), False),
        (SINGLE, Answer(text="b"), False),
        (MULTIPLE, Answer((0, 1, 2)), True),
        (MULTIPLE, Answer((3,)), False),
        (SHORT, Answer((0,)), False),
        (SHORT, Answer(text="anything"), True),
        (SINGLE, Answer(), True),
    ],
)
def test_an_answer_fits_its_question(question: Question, answer: Answer, allowed: bool) -> None:
    assert (answer.fault(question) is None) is allowed


@pytest.mark.parametrize(
    ("pass_basis_points", "answers", "passed"),
    [
        (5000, {2: Answer(text="café")}, True),
        (5001, {2: Answer(text="café")}, False),
        (3333, {1: Answer((1, 2))}, True),
        # 2 of 6 points are 3333.3 basis points: rounding up would fail who has them, rounding down pass who has not.
        (3334, {1: Answer((1, 2))}, False),
        (10000, {0: Answer((1,)), 1: Answer((1, 2)), 2: Answer(text="café")}, True),
        (1, {}, False),
    ],
)
def test_passing_is_decided_exactly(pass_basis_points: int, answers: dict[int, Answer], passed: bool) -> None:
    assert grade(QUESTIONS, answers, pass_basis_points).passed is passed


def test_saved_answers_replace_those_to_the_same_question_and_empty_ones_take_them_back() -> None:
    first = ATTEMPT.answered({0: Answer((1,)), 1: Answer((1, 2))})
    assert first.result.points == 3
    second = first.answered({0: Answer((0,)), 1: Answer()})
    assert second.answers == {0: Answer((0,))}
    assert second.result == Result(0, 6, passed=False)
    assert second.has_answers({0: Answer((0,)), 1: Answer()})
    assert not second.has_answers({0: Answer((1,))})


def test_the_state_follows_from_the_deadline() -> None:
    assert ATTEMPT.state(NOW + MINUTE - timedelta(microseconds=1)) is AttemptState.OPEN
    assert ATTEMPT.state(NOW + MINUTE) is AttemptState.EXPIRED
    assert ATTEMPT.submitted(NOW).state(NOW + 2 * MINUTE) is AttemptState.SUBMITTED
    assert ATTEMPT.expired().state(NOW) is AttemptState.EXPIRED
    assert replace(ATTEMPT, deadline=None).state(NOW + timedelta(days=999)) is AttemptState.OPEN


@pytest.mark.parametrize(
    ("standing", "shown"),
    [
        (Standing(started=1), False),
        (Standing(started=2, passed=True), True),
        (Standing(started=3), True),
        (Standing(started=3, open_attempt_id="a"), False),
        (Standing(started=2, open_attempt_id="a", passed=True), False),
    ],
)
def test_right_answers_are_told_after_passing_or_the_last_attempt(standing: Standing, shown: bool) -> None:
    assert standing.shows_solutions(3) is shown


def test_without_a_limit_only_passing_tells_right_answers() -> None:
    assert not Standing(started=500).shows_solutions(None)
    assert Standing(started=500, passed=True).shows_solutions(None)


def test_the_best_or_the_latest_attempt_counts() -> None:
    best, latest = Result(6, 6, passed=True), Result(1, 6, passed=False)
    standing = Standing(started=2, passed=True, best=best, latest=latest)
    assert standing.result(QuizScoring.HIGHEST) is best
    assert standing.result(QuizScoring.LATEST) is latest
    assert latest.basis_points == 1666
