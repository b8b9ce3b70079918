"""Enrolments: the states that one person goes through in one course, and what follows from each change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from services.shared.money import Money

HOLD_LIFETIME = timedelta(minutes=15)
"""How long the price is held at most; an enrolment that is not active by then never will be."""
COMPLETE_BASIS_POINTS = 10_000


class EnrollmentState(StrEnum):
    """Where an enrolment is in its life."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class SettleEnrollment:
    """Job: finish the payment of an enrolment that a call left incomplete."""

    enrollment_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class GrantReward:
    """Job: credit what completing a course earns."""

    enrollment_id: str
    user_id: str
    amount_minor: int
    course_title: str


@dataclass(frozen=True, slots=True)
class CloseRefundWindow:
    """Job: end the payer's right to a refund."""

    payment_id: str


@dataclass(frozen=True, slots=True)
class PaymentRefunded:
    """Event of Payment: a payment was refunded."""

    payment_id: str
    in_full: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Required lessons completed, of those that the enrolment's revision has."""

    completed_lessons: int
    required_lessons: int

    @property
    def basis_points(self) -> int:
        """The ratio in hundredths of a percent, rounded down."""
        return self.completed_lessons * COMPLETE_BASIS_POINTS // self.required_lessons

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.completed_lessons == self.required_lessons


@dataclass(frozen=True, slots=True)
class LessonProgress:
    """One lesson of an enrolment; `complete_time` is None while it is not complete."""

    lesson_id: str
    complete_time: datetime | None


@dataclass(frozen=True, slots=True)
class Enrollment:
    """One person in one course, pinned to a revision.

    Each method returns the enrolment after a change, or the same one where the change has happened before or can no
    longer happen: so whoever comes second, a twin or a job, changes nothing.
    """

    id: str
    user_id: str
    course_id: str
    course_revision: int
    course_title: str
    price: Money
    completion_reward: Money
    state: EnrollmentState
    attempt: int
    """Counts how often the person enrolled: each time is paid for anew."""
    key: str
    """The idempotency key of the call that enrolled."""
    open_time: datetime
    """When that call came."""
    hold_id: str | None
    payment_id: str | None
    refused: bool
    """Whether Payment refused to hold the price."""
    refund_window_closed: bool
    progress: Progress
    enroll_time: datetime | None
    """When it last became active."""
    complete_time: datetime | None

    @property
    def unsettled(self) -> bool:
        """Whether the price is still to be paid."""
        live = self.state is not EnrollmentState.CANCELLED
        return live and self.price.amount_minor > 0 and self.payment_id is None

    def payment_key(self, step: str) -> str:
        """Return the idempotency key of a step of this attempt's payment: whoever takes the step uses the same."""
        return f"enrollment:{self.id}:{self.attempt}:{step}"

    def lapsed(self, now: datetime) -> bool:
        """Whether its time to become active is over: whatever was held for it is given back by itself."""
        return self.state is EnrollmentState.PENDING and now >= self.open_time + HOLD_LIFETIME

    def activated(self, hold_id: str, now: datetime) -> Enrollment:
        """Begin to learn: the price is held."""
        if self.state is not EnrollmentState.PENDING:
            return self
        return replace(self, state=EnrollmentState.ACTIVE, hold_id=hold_id, enroll_time=now)

    def paid(self, payment_id: str) -> Enrollment:
        """Note the payment that capturing the hold made."""
        return replace(self, payment_id=payment_id) if self.unsettled else self

    def given_up(self) -> Enrollment:
        """End what did not become active in time."""
        return self.cancelled() if self.state is EnrollmentState.PENDING else self

    def declined(self) -> Enrollment:
        """End it because Payment refused to hold the price."""
        return replace(self.cancelled(), refused=True) if self.state is EnrollmentState.PENDING else self

    def cancelled(self) -> Enrollment:
        """End it: the price could not be paid, or was paid back."""
        return replace(self, state=EnrollmentState.CANCELLED)

    def with_lesson(self, *, required: bool) -> Enrollment:
        """Count one more lesson; only required ones do."""
        completed = self.progress.completed_lessons + required
        return replace(self, progress=replace(self.progress, completed_lessons=completed))

    def advanced(self, now: datetime, refund_limit_basis_points: int) -> Enrollment:
        """Draw what follows from progress, once the price is paid: completion, and the end of the time for refunds."""
        if self.state is not EnrollmentState.ACTIVE or self.unsettled:
            return self
        passed = self.payment_id is not None and self.progress.basis_points > refund_limit_basis_points
        after = replace(self, refund_window_closed=self.refund_window_closed or passed)
        if self.progress.complete:
            after = replace(after, state=EnrollmentState.COMPLETED, complete_time=self.complete_time or now)
        return after

    def jobs_since(self, before: Enrollment) -> Iterator[GrantReward | CloseRefundWindow]:
        """Give the work that the change from `before` to this asks for."""
        if self.complete_time and not before.complete_time and self.completion_reward.amount_minor:
            yield GrantReward(self.id, self.user_id, self.completion_reward.amount_minor, self.course_title)
        if self.payment_id and self.refund_window_closed and not before.refund_window_closed:
            yield CloseRefundWindow(self.payment_id)
