"""What other services tell."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened elsewhere; its id is the same however often it is told."""

    id: str
    refunded_payment_id: str | None
    """The payment of which nothing is left; None for events that change nothing here."""
