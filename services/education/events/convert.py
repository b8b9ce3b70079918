"""From the contract's messages to the model of events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.education.events.model import Event

if TYPE_CHECKING:
    from azora.education.v1 import internal_service_pb2 as pb


def event(message: pb.Event) -> Event:
    """Return the event that the message tells of; partial refunds change nothing here."""
    refund = message.payment_refunded
    return Event(id=message.id, refunded_payment_id=refund.payment_id.lower() if refund.in_full else None)
