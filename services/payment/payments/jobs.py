"""Delivers what happened to the services that want to know."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from services.payment.payments.operations import DELIVER_EVENT
from services.payment.ports import PaymentRefunded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from services.payment.ports import Education
    from services.shared.jobs import Payload


def handlers(education: Education) -> Mapping[str, Callable[[Payload], Awaitable[None]]]:
    """Return what each job does."""

    async def deliver_event(payload: Payload) -> None:
        occur_time = datetime.fromisoformat(payload["occur_time"])
        await education.receive(
            PaymentRefunded(payload["id"], occur_time, payload["payment_id"], in_full=payload["in_full"])
        )

    return {DELIVER_EVENT: deliver_event}
