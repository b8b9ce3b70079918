"""What Payment needs of other services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from services.payment.payments.model import PaymentRefunded


class Refused(Exception):
    """Another service refused a request for good. Its `reason` is that of the service's ErrorInfo."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Education(Protocol):
    """Education, as Payment sees it."""

    async def close_enrollment(self, *, payment_id: str, refund_id: str, by_payer: bool) -> None:
        """End the enrolment that a payment bought, before it is refunded; for the same refund always alike.

        Raises Refused if the payer may not have the course taken back, and DependencyUnavailable.
        """
        ...

    async def receive(self, event_id: str, occur_time: datetime, event: PaymentRefunded) -> None:
        """Take the event; one that was taken before changes nothing. Raises DependencyUnavailable."""
        ...
