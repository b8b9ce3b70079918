"""Background work of payments: deciding refunds that a call left pending, delivering events."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from services.payment.payments.model import PaymentRefunded, SettleRefund
from services.payment.payments.operations import DELIVER_EVENT, SETTLE_REFUND

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from services.payment.payments.operations import RefundOperations
    from services.payment.ports import Education
    from services.shared.jobs import Payload


def handlers(refunds: RefundOperations, education: Education) -> Mapping[str, Callable[[Payload], Awaitable[None]]]:
    """Return what each job does."""

    async def settle_refund(payload: Payload) -> None:
        await refunds.settle_refund(SettleRefund(**payload))

    async def deliver_event(payload: Payload) -> None:
        event = PaymentRefunded(payload["payment_id"], payload["in_full"])
        await education.receive(payload["id"], datetime.fromisoformat(payload["occur_time"]), event)

    return {SETTLE_REFUND: settle_refund, DELIVER_EVENT: deliver_event}
