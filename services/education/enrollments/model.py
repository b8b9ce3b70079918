"""Enrolments: the states that one person goes through in one course, and what follows from each change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from services.education.courses.model import Lock
    from services.shared.money import Money

HOLD_LIFETIME = timedelta(minutes=15)
"""How long the price is held at most; an enrolment that is not active by then never will be."""
WHOLE_BASIS_POINTS = 10_000


def share_basis_points(part: int, whole: int) -> int:
    """Return a share in hundredths of a percent, rounded down; 0 of nothing."""
    return part * WHOLE_BASIS_POINTS // whole if whole else 0


class EnrollmentState(StrEnum):
    """State of an enrolment."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


class Refusal(StrEnum):
    """Why an attempt to enrol ended for good, as the reason of an error."""

    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    WALLET_FROZEN = "WALLET_FROZEN"
    WALLET_CLOSED = "WALLET_CLOSED"
    COURSE_FULL = "COURSE_FULL"
    ENROLLMENT_CANCELLED = "ENROLLMENT_CANCELLED"


HOLD_REFUSALS = {
    refusal.value: refusal for refusal in (Refusal.INSUFFICIENT_FUNDS, Refusal.WALLET_FROZEN, Refusal.WALLET_CLOSED)
}
"""What Payment refuses to hold the price for."""
HOLD_ENDED = {"HOLD_EXPIRED", "HOLD_NOT_ACTIVE", "HOLD_NOT_FOUND"}
"""What Payment refuses a capture for when nothing was captured and nothing is left to."""


@dataclass(frozen=True, slots=True)
class SettleEnrollment:
    """Job: bring an attempt at an enrolment to its end, paid or cancelled, that a call left unpaid."""

    enrollment_id: str
    attempt: int

    @property
    def once(self) -> str:
        """The name under which it is enqueued once."""
        return f"settle_enrollment:{self.enrollment_id}:{self.attempt}"


@dataclass(frozen=True, slots=True)
class ReleaseHold:
    """Job: release what is held for an attempt at an enrolment that was cancelled unpaid.

    It has all that the hold was asked for with: asking again by its key tells whether there is one.
    """

    enrollment_id: str
    attempt: int
    user_id: str
    course_id: str
    course_title: str
    amount_minor: int
    currency: str
    hold_id: str | None
    """None where the answer with it was lost, or never came."""


@dataclass(frozen=True, slots=True)
class GrantReward:
    """Job: credit what completing a course earns."""

    enrollment_id: str
    user_id: str
    amount_minor: int
    course_title: str


@dataclass(frozen=True, slots=True)
class PaymentRefunded:
    """Event of Payment: a payment was refunded, in part or in full."""

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
        return share_basis_points(self.completed_lessons, self.required_lessons)

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
class LearnerProgress:
    """How far an enrolment is, in sum and by lesson, and what is not open yet."""

    progress: Progress
    lessons: tuple[LessonProgress, ...]
    locks: tuple[Lock, ...]


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """What a watch of an enrolment shows."""

    enrollment_id: str
    user_id: str
    state: EnrollmentState
    progress: Progress
    completed_lessons: tuple[LessonProgress, ...]
    sequence: int
    """Version of the enrolment: it grows with every change."""


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
    refusal: Refusal | None
    """Why this attempt ended: what its key is answered from then on."""
    progress: Progress
    enroll_time: datetime | None
    """When it last became active."""
    complete_time: datetime | None

    @property
    def paid_course(self) -> bool:
        """Whether the course has a price."""
        return self.price.amount_minor > 0

    @property
    def unsettled(self) -> bool:
        """Whether the price is still to be paid."""
        return self.state is not EnrollmentState.CANCELLED and self.paid_course and self.payment_id is None

    def refusal_of(self, key: str, *, again: bool) -> Refusal | None:
        """Return why a call under `key` is refused; `again` says that an attempt, this or an earlier one, was its own.

        A key whose attempt another key's has followed does not begin anew: its own may have been paid, or called off.
        """
        if self.key == key:
            return self.refusal
        return Refusal.ENROLLMENT_CANCELLED if again and self.state is EnrollmentState.CANCELLED else None

    def lapsed(self, now: datetime) -> bool:
        """Whether its time to become active is over."""
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

    def declined(self, refusal: Refusal, hold_id: str | None = None) -> Enrollment:
        """End what cannot become active; `hold_id` is what is held for it."""
        if self.state is not EnrollmentState.PENDING:
            return self
        return replace(self.cancelled(), refusal=refusal, hold_id=hold_id)

    def called_off(self) -> Enrollment:
        """End it because the learner wants to, or the money is to be paid back: its key does not begin anew."""
        return replace(self.cancelled(), refusal=Refusal.ENROLLMENT_CANCELLED)

    def cancelled(self) -> Enrollment:
        """End it: the price could not be paid."""
        return replace(self, state=EnrollmentState.CANCELLED)

    def with_lesson(self, *, required: bool) -> Enrollment:
        """Count one more lesson; only required ones do, and none once the course is completed."""
        if self.state is EnrollmentState.COMPLETED:
            return self
        completed = self.progress.completed_lessons + required
        return replace(self, progress=replace(self.progress, completed_lessons=completed))

    def advanced(self, now: datetime) -> Enrollment:
        """Complete the course if nothing is missing, once the price is paid."""
        if self.state is not EnrollmentState.ACTIVE or self.unsettled or not self.progress.complete:
            return self
        return replace(self, state=EnrollmentState.COMPLETED, complete_time=self.complete_time or now)

    def jobs_since(self, before: Enrollment) -> Iterator[GrantReward | ReleaseHold]:
        """Give the work that the change from `before` to this asks for."""
        if self.complete_time and not before.complete_time and self.completion_reward.amount_minor:
            yield GrantReward(self.id, self.user_id, self.completion_reward.amount_minor, self.course_title)
        if before.unsettled and not self.unsettled and self.payment_id is None and self._may_be_held:
            yield self.release()

    def release(self) -> ReleaseHold:
        """Return the job that releases what is held for this attempt."""
        return ReleaseHold(
            enrollment_id=self.id,
            attempt=self.attempt,
            user_id=self.user_id,
            course_id=self.course_id,
            course_title=self.course_title,
            amount_minor=self.price.amount_minor,
            currency=self.price.currency,
            hold_id=self.hold_id,
        )

    def is_held(self, now: datetime) -> bool:
        """Whether something may still be held for this attempt, which ended unpaid.

        A hold is asked for until the attempt lapses, and lasts as long again.
        """
        unpaid = self.state is EnrollmentState.CANCELLED and self.paid_course and self.payment_id is None
        return unpaid and self._may_be_held and now < self.open_time + 2 * HOLD_LIFETIME

    @property
    def _may_be_held(self) -> bool:
        """Whether something may be held for it: not if Payment refused that."""
        return self.refusal not in HOLD_REFUSALS.values()


def payment_key(enrollment_id: str, attempt: int, step: str) -> str:
    """Return the idempotency key of a step of an attempt's payment: whoever takes the step uses the same."""
    return f"enrollment:{enrollment_id}:{attempt}:{step}"


@dataclass(frozen=True, slots=True)
class Learner:
    """An enrolment, and the lessons completed in it."""

    enrollment: Enrollment
    completions: Mapping[str, datetime]
    """When each completed lesson was, by its ID, oldest first."""
