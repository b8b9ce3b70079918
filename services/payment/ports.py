"""Ports of Payment: the other services that it calls."""

from __future__ import annotations

from typing import Protocol


class Education(Protocol):
    """Education, as Payment sees it."""

    async def close_enrollment(self, *, payment_id: str, refund_id: str, by_payer: bool) -> None:
        """End the enrolment that a payment bought, before it is refunded; for the same refund always alike.

        Raises Refused if the payer may not have the course taken back, and DependencyUnavailable.
        """
        ...
