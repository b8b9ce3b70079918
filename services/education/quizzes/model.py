"""Attempts at quizzes: what is drawn, answered and graded."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from services.education.courses.model import QuestionKind, QuizScoring
from services.education.enrollments.model import WHOLE_BASIS_POINTS, share_basis_points

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from services.education.courses.model import Lock, Question, Quiz

MAX_ATTEMPTS = 1000
"""Maximum number of attempts of a learner at a quiz that does not limit them: what reads them all stays bounded."""


class AttemptState(StrEnum):
    """State of an attempt."""

    OPEN = "OPEN"
    SUBMITTED = "SUBMITTED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class GradeAttempt:
    """Job: write what follows from an attempt whose deadline has passed."""

    attempt_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a learner answers to a question: options of a choice by their place, or a short text."""

    selected_options: tuple[int, ...] = ()
    text: str = ""

    @property
    def empty(self) -> bool:
        """Whether the question counts as not answered."""
        return not self.selected_options and not self.text

    def fault(self, question: Question) -> str | None:
        """Return why the question cannot be answered so, if it cannot."""
        if question.kind is QuestionKind.SHORT_TEXT:
            return "selectedOptions must be empty for a short text question" if self.selected_options else None
        if self.text:
            return "text must be empty for a choice"
        if any(index >= len(question.options) for index in self.selected_options):
            return f"selectedOptions must be indexes of the {len(question.options)} options"
        if question.kind is QuestionKind.SINGLE_CHOICE and len(self.selected_options) > 1:
            return "selectedOptions must have at most one index for a single choice"
        return None

    def is_right(self, question: Question) -> bool:
        """Whether it earns the question's points."""
        if question.kind is QuestionKind.SHORT_TEXT:
            return _comparable(self.text) in {_comparable(accepted) for accepted in question.accepted_answers}
        return set(self.selected_options) == set(correct_options(question))


@dataclass(frozen=True, slots=True)
class Result:
    """What an attempt has earned."""

    points: int
    max_points: int
    passed: bool

    @property
    def basis_points(self) -> int:
        """The share of the points in hundredths of a percent, rounded down."""
        return share_basis_points(self.points, self.max_points)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a learner at a quiz, with the questions that were drawn for it."""

    id: str
    enrollment_id: str
    user_id: str
    course_id: str
    lesson_id: str
    number: int
    pass_basis_points: int
    max_attempts: int | None
    questions: tuple[Question, ...]
    """Empty where an attempt is listed."""
    answers: Mapping[int, Answer]
    """The saved answers by the question's place."""
    result: Result
    """Of the answers saved so far."""
    start_time: datetime
    deadline: datetime | None
    submit_time: datetime | None
    grade_time: datetime | None
    """When what follows from the grade was written; None before."""

    def state(self, now: datetime) -> AttemptState:
        """Return the state, which follows from the deadline."""
        if self.submit_time is not None:
            return AttemptState.SUBMITTED
        if self.grade_time is not None or (self.deadline is not None and now >= self.deadline):
            return AttemptState.EXPIRED
        return AttemptState.OPEN

    def answered(self, answers: Mapping[int, Answer]) -> Attempt:
        """Save answers beside those to other questions, and grade all of them."""
        kept = {place: answer for place, answer in ({**self.answers, **answers}).items() if not answer.empty}
        return replace(self, answers=kept, result=grade(self.questions, kept, self.pass_basis_points))

    def has_answers(self, answers: Mapping[int, Answer]) -> bool:
        """Whether these answers, and no others, are saved to the questions that they are for."""
        return all(self.answers.get(place, Answer()) == answer for place, answer in answers.items())

    def submitted(self, now: datetime) -> Attempt:
        """Grade it for good."""
        return replace(self, submit_time=now, grade_time=now)

    def expired(self) -> Attempt:
        """Grade it for good, by what was saved before its deadline."""
        return replace(self, grade_time=self.deadline)


@dataclass(frozen=True, slots=True)
class Standing:
    """All attempts of a learner at one quiz, in sum."""

    started: int = 0
    open_attempt_id: str | None = None
    passed: bool = False
    """Whether any graded attempt has passed."""
    best: Result | None = None
    latest: Result | None = None
    """Of graded attempts, both."""

    def result(self, scoring: QuizScoring) -> Result | None:
        """Return the result that counts."""
        return self.latest if scoring is QuizScoring.LATEST else self.best

    def shows_solutions(self, max_attempts: int | None) -> bool:
        """Whether right answers can be told: nothing can be gained by them any more, or it is passed.

        Not while an attempt is open: its questions may be those that are answered.
        """
        used_up = max_attempts is not None and self.started >= max_attempts
        return self.open_attempt_id is None and (self.passed or used_up)


@dataclass(frozen=True, slots=True)
class QuizStatus:
    """A quiz with what a learner has made of it."""

    lesson_id: str
    title: str
    quiz: Quiz
    standing: Standing
    locks: tuple[Lock, ...]


@dataclass(frozen=True, slots=True)
class ReadAttempt:
    """An attempt as its learner gets it, at a time."""

    attempt: Attempt
    state: AttemptState
    shows_solutions: bool


def grade(questions: Sequence[Question], answers: Mapping[int, Answer], pass_basis_points: int) -> Result:
    """Return what the answers earn."""
    earned = sum(
        question.points
        for place, question in enumerate(questions)
        if place in answers and answers[place].is_right(question)
    )
    of = sum(question.points for question in questions)
    return Result(earned, of, passed=earned * WHOLE_BASIS_POINTS >= pass_basis_points * of)


def correct_options(question: Question) -> tuple[int, ...]:
    """Return the places of a choice's correct options."""
    return tuple(place for place, option in enumerate(question.options) if option.correct)


def _comparable(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split()).casefold()
