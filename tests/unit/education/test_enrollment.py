"""What an enrolment becomes, and what it never does: the states without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.education.enrollments.model import (
    HOLD_LIFETIME,
    Enrollment,
    EnrollmentState,
    GrantReward,
    Progress,
    Refusal,
    ReleaseHold,
    payment_key,
)
from services.shared.money import Money

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
PENDING = Enrollment(
    id="e",
    user_id="u",
    course_id="c",
    course_revision=1,
    course_title="Sourdough",
    price=Money(49_00),
    completion_reward=Money(75_00),
    state=EnrollmentState.PENDING,
    attempt=1,
    key="k",
    open_time=NOW,
    hold_id=None,
    payment_id=None,
    refusal=None,
    progress=Progress(0, 3),
    enroll_time=None,
    complete_time=None,
)
ACTIVE = PENDING.activated("h", NOW)
PAID = ACTIVE.paid("p")


def done(enrollment: Enrollment, lessons: int) -> Enrollment:
    return replace(enrollment, progress=Progress(lessons, 3))


@pytest.mark.parametrize(("completed", "basis_points"), [(0, 0), (1, 3333), (2, 6666), (3, 10000)])
def test_progress_is_rounded_down(completed: int, basis_points: int) -> None:
    progress = Progress(completed, 3)
    assert progress.basis_points == basis_points
    assert progress.complete == (completed == 3)


def test_the_way_of_a_paid_enrolment() -> None:
    assert (ACTIVE.state, ACTIVE.hold_id, ACTIVE.enroll_time) == (EnrollmentState.ACTIVE, "h", NOW)
    assert (PENDING.unsettled, ACTIVE.unsettled, PAID.unsettled) == (True, True, False)


def test_whoever_comes_second_changes_nothing() -> None:
    assert ACTIVE.activated("other", NOW) == ACTIVE
    assert ACTIVE.given_up() == ACTIVE
    assert ACTIVE.declined(Refusal.COURSE_FULL, "h") == ACTIVE
    assert PAID.paid("other") == PAID
    assert PAID.cancelled().activated("h", NOW) == PAID.cancelled()


def test_a_pending_one_ends_declined_given_up_or_called_off() -> None:
    poor, late, off = PENDING.declined(Refusal.INSUFFICIENT_FUNDS), PENDING.given_up(), PENDING.called_off()
    assert {ended.state for ended in (poor, late, off)} == {EnrollmentState.CANCELLED}
    assert (poor.refusal, late.refusal, off.refusal) == (
        Refusal.INSUFFICIENT_FUNDS,
        None,
        Refusal.ENROLLMENT_CANCELLED,
    )
    assert not late.unsettled


@pytest.mark.parametrize(
    ("ended", "released"),
    [
        (PENDING.declined(Refusal.INSUFFICIENT_FUNDS), []),
        (PENDING.declined(Refusal.WALLET_FROZEN), []),
        (PENDING.declined(Refusal.WALLET_CLOSED), []),
        (PENDING.declined(Refusal.COURSE_FULL, "h"), ["h"]),
        (PENDING.given_up(), [None]),
        (PENDING.called_off(), [None]),
        (ACTIVE.cancelled(), ["h"]),
        (PAID.cancelled(), []),
    ],
)
def test_what_may_be_held_for_an_ended_attempt_is_released(ended: Enrollment, released: list[str | None]) -> None:
    before = PAID if ended.payment_id else PENDING
    jobs = [job for job in ended.jobs_since(before) if isinstance(job, ReleaseHold)]
    assert [job.hold_id for job in jobs] == released
    assert all((job.amount_minor, job.attempt, job.course_title) == (49_00, 1, "Sourdough") for job in jobs)


def test_only_a_pending_one_lapses() -> None:
    end = NOW + HOLD_LIFETIME
    assert PENDING.lapsed(end)
    assert not PENDING.lapsed(NOW)
    assert not ACTIVE.lapsed(end)


def test_each_attempt_has_keys_of_its_own() -> None:
    keys = {payment_key("e", attempt, step) for attempt in (1, 2) for step in ("hold", "capture")}
    assert len(keys) == 4


def test_completion_waits_for_the_payment() -> None:
    assert done(ACTIVE, 3).advanced(NOW) == done(ACTIVE, 3)
    completed = done(PAID, 3).advanced(NOW)
    assert (completed.state, completed.complete_time) == (EnrollmentState.COMPLETED, NOW)
    assert [type(job) for job in completed.jobs_since(PAID)] == [GrantReward]
    assert list(completed.jobs_since(completed)) == []


def test_completing_again_after_coming_back_earns_nothing_more() -> None:
    back = replace(done(PAID, 3), complete_time=NOW)
    completed = back.advanced(datetime.now(UTC))
    assert (completed.state, completed.complete_time) == (EnrollmentState.COMPLETED, NOW)
    assert list(completed.jobs_since(back)) == []


def test_a_course_that_earns_nothing_asks_for_no_reward() -> None:
    free = replace(PAID, price=Money(0), payment_id=None, completion_reward=Money(0))
    completed = done(free, 3).advanced(NOW)
    assert completed.state is EnrollmentState.COMPLETED
    assert list(completed.jobs_since(free)) == []


def test_a_completed_one_counts_no_more_lessons() -> None:
    completed = done(PAID, 3).advanced(NOW)
    assert completed.with_lesson(required=True) == completed
