"""Recovery of interrupted payments, and what Payment reports about finished ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azora.payment.v1 import events_pb2

from services.education.enrollments import convert
from services.education.enrollments.model import SettleEnrollment
from services.shared.inbox import Subscription
from services.shared.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.education.settlements.operations import SettlementOperations


def jobs(operations: SettlementOperations) -> Sequence[Job[Any]]:
    """Return the jobs of settlements."""
    return [Job(SettleEnrollment, operations.settle_attempt)]


def subscriptions(operations: SettlementOperations) -> Sequence[Subscription[Any, Any]]:
    """Return the handlers of Payment's events."""
    return [Subscription(events_pb2.PaymentRefunded, convert.payment_refunded, operations.payment_refunded)]
