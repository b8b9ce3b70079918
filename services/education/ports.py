"""Ports of Education: the other services that it calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import timedelta

    from services.shared.money import Money


@dataclass(frozen=True, slots=True)
class Captured:
    """The payment that a capture made."""

    payment_id: str
    amount: Money


class Payments(Protocol):
    """Payment, as Education sees it.

    The same key has one effect, however often it is used. Every method raises DependencyUnavailable when Payment does
    not answer, and then the call may or may not have had its effect; Refused when it had none and never will.
    """

    async def hold(
        self, *, key: str, user_id: str, amount: Money, description: str, course_id: str, lifetime: timedelta
    ) -> str:
        """Set money of the user's aside for a course, for `lifetime` at most; return the hold's id."""
        ...

    async def capture(self, *, key: str, user_id: str, hold_id: str) -> Captured:
        """Take all that was set aside; return the payment that this makes."""
        ...

    async def release(self, *, key: str, user_id: str, hold_id: str) -> None:
        """Give back what was set aside."""
        ...

    async def earn(self, *, reference: str, user_id: str, amount: Money, description: str) -> None:
        """Issue tokens to the user, once for all time per reference."""
        ...
