"""What follows from learning, once Payment answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.education.enrollments.model import CloseRefundWindow, GrantReward
from services.shared.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.education.enrollments.operations import EnrollmentOperations


def jobs(operations: EnrollmentOperations) -> Sequence[Job[Any]]:
    """Return the jobs of enrolments."""
    return [Job(GrantReward, operations.grant_reward), Job(CloseRefundWindow, operations.close_refund_window)]
