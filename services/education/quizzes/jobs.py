"""Background work of quizzes: attempts whose deadline has passed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.education.quizzes.model import GradeAttempt
from services.shared.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.education.quizzes.operations import QuizOperations


def jobs(quizzes: QuizOperations) -> Sequence[Job[Any]]:
    """Return the jobs of quizzes."""
    return [Job(GradeAttempt, quizzes.grade_attempt)]
