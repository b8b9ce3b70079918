"""Background work of payments: deciding refunds that a call left pending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.payment.payments.model import SettleRefund
from services.shared.jobs import Job, Periodic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.payment.payments.operations import RefundOperations

SWEEP_SCHEDULE = "* * * * *"


def jobs(refunds: RefundOperations) -> Sequence[Job[Any]]:
    """Return the jobs of payments."""
    return [Job(SettleRefund, refunds.settle_refund)]


def periodic(refunds: RefundOperations) -> Sequence[Periodic]:
    """Return what runs on a schedule."""
    return [Periodic("sweep_refunds", SWEEP_SCHEDULE, refunds.sweep_refunds)]
