"""What Payment needs of other services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class PaymentRefunded:
    """The event of a refund."""

    id: str
    """The same for every delivery of the same event."""
    occur_time: datetime
    payment_id: str
    in_full: bool
    """Whether nothing of the payment is left."""


class Education(Protocol):
    """Education, as Payment sees it."""

    async def receive(self, event: PaymentRefunded) -> None:
        """Take the event; one that was taken before changes nothing. Raises DependencyUnavailable."""
        ...
