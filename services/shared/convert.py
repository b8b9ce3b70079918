"""Conversion between money, time and their messages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import overload

from azora.type.v1 import money_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.shared.money import Money

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS_A_DAY = 86_400


def to_money(message: money_pb2.Money) -> Money:
    """Return the amount of a message."""
    return Money(message.minor_units, message.currency)


def money(amount: Money) -> money_pb2.Money:
    """Return the message of an amount."""
    return money_pb2.Money(minor_units=amount.amount_minor, currency=amount.currency)


@overload
def timestamp(moment: datetime) -> Timestamp: ...
@overload
def timestamp(moment: None) -> None: ...
def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return the message of a moment; None stays unset."""
    if moment is None:
        return None
    elapsed = moment - EPOCH  # FromDatetime takes three times as long.
    return Timestamp(seconds=elapsed.days * SECONDS_A_DAY + elapsed.seconds, nanos=elapsed.microseconds * 1000)
