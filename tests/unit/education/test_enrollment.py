"""What an enrolment becomes, and what it never does: the states without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.education.enrollments.model import (
    HOLD_LIFETIME,
    CloseRefundWindow,
    Enrollment,
    EnrollmentState,
    GrantReward,
    Progress,
)
from services.shared.money import Money

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
LIMIT = 2_000
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
    refused=False,
    refund_window_closed=False,
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
    assert ACTIVE.declined() == ACTIVE
    assert PAID.paid("other") == PAID
    assert PAID.cancelled().activated("h", NOW) == PAID.cancelled()


def test_a_pending_one_ends_declined_or_given_up() -> None:
    assert (PENDING.declined().state, PENDING.declined().refused) == (EnrollmentState.CANCELLED, True)
    assert (PENDING.given_up().state, PENDING.given_up().refused) == (EnrollmentState.CANCELLED, False)
    assert not PENDING.given_up().unsettled


def test_only_a_pending_one_lapses() -> None:
    end = NOW + HOLD_LIFETIME
    assert PENDING.lapsed(end)
    assert not PENDING.lapsed(NOW)
    assert not ACTIVE.lapsed(end)


def test_each_attempt_has_keys_of_its_own() -> None:
    keys = {replace(PENDING, attempt=attempt).payment_key(step) for attempt in (1, 2) for step in ("hold", "capture")}
    assert len(keys) == 4


def test_completion_waits_for_the_payment() -> None:
    assert done(ACTIVE, 3).advanced(NOW, LIMIT) == done(ACTIVE, 3)
    completed = done(PAID, 3).advanced(NOW, LIMIT)
    assert (completed.state, completed.complete_time) == (EnrollmentState.COMPLETED, NOW)
    assert [type(job) for job in completed.jobs_since(PAID)] == [GrantReward, CloseRefundWindow]
    assert list(completed.jobs_since(completed)) == []


def test_completing_again_after_coming_back_earns_nothing_more() -> None:
    back = replace(done(PAID, 3), complete_time=NOW)
    completed = back.advanced(datetime.now(UTC), 10_000)
    assert (completed.state, completed.complete_time) == (EnrollmentState.COMPLETED, NOW)
    assert list(completed.jobs_since(back)) == []


def test_a_course_that_earns_nothing_asks_for_no_reward() -> None:
    free = replace(PAID, price=Money(0), payment_id=None, completion_reward=Money(0))
    completed = done(free, 3).advanced(NOW, LIMIT)
    assert completed.state is EnrollmentState.COMPLETED
    assert list(completed.jobs_since(free)) == []


@pytest.mark.parametrize(("limit", "closed"), [(3_332, True), (3_333, False)])
def test_refunds_end_above_the_limit(limit: int, closed: bool) -> None:
    after = done(PAID, 1).advanced(NOW, limit)
    assert after.refund_window_closed == closed
    assert [type(job) for job in after.jobs_since(PAID)] == [CloseRefundWindow] * closed
    assert done(after, 2).advanced(NOW, 10_000).refund_window_closed == closed
