"""What Education needs of other services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from services.shared.errors import Refused

if TYPE_CHECKING:
    from datetime import timedelta

    from services.shared.money import Money


class PaymentRefused(Refused):
    """Payment looked at what it was asked and will not do it: a verdict, unlike an answer that never came."""


class Payments(Protocol):
    """Payment, as Education sees it.

    The same key has one effect, however often it is used. Every method raises DependencyUnavailable when Payment does
    not answer, and then the call may or may not have had its effect; PaymentRefused when it had none and never will.
    """

    async def hold(
        self, *, key: str, user_id: str, amount: Money, description: str, course_id: str, lifetime: timedelta
    ) -> str:
        """Set money of the user's aside for a course, for `lifetime` at most; return the hold's id."""
        ...

    async def capture(self, *, key: str, user_id: str, hold_id: str) -> str:
        """Take all that was set aside; return the id of the payment that this makes."""
        ...

    async def release(self, *, key: str, user_id: str, hold_id: str) -> None:
        """Give back what was set aside."""
        ...

    async def earn(self, *, reference: str, user_id: str, amount: Money, description: str) -> None:
        """Issue tokens to the user, once for all time per reference."""
        ...

    async def close_refund_window(self, *, payment_id: str) -> None:
        """End the time in which the payer may ask for a refund."""
        ...
