"""Background work of settlements: settling what a call left unpaid, releasing holds, granting rewards, events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azora.payment.v1 import events_pb2

from services.education.enrollments.model import GrantReward, ReleaseHold, SettleEnrollment
from services.education.settlements import convert
from services.shared.inbox import Subscription
from services.shared.jobs import Job, Periodic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.education.settlements.operations import SettlementOperations

SWEEP_SCHEDULE = "* * * * *"


def jobs(settlements: SettlementOperations) -> Sequence[Job[Any]]:
    """Return the jobs of settlements."""
    return [
        Job(SettleEnrollment, settlements.settle_enrollment),
        Job(ReleaseHold, settlements.release_hold),
        Job(GrantReward, settlements.grant_reward),
    ]


def periodic(settlements: SettlementOperations) -> Sequence[Periodic]:
    """Return what runs on a schedule."""
    return [Periodic("sweep_enrollments", SWEEP_SCHEDULE, settlements.sweep_enrollments)]


def subscriptions(settlements: SettlementOperations) -> Sequence[Subscription[Any, Any]]:
    """Return the handlers of Payment's events."""
    return [Subscription(events_pb2.PaymentRefunded, convert.payment_refunded, settlements.payment_refunded)]
