"""Conversion between holds and their messages."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from azora.payment.v1 import payment_pb2
from azora.payment.v1 import payment_service_pb2 as pb

from services.payment.holds.model import Order, PaymentType
from services.shared.convert import money, timestamp, to_money
from services.shared.money import Money

if TYPE_CHECKING:
    from services.payment.holds.model import Hold

EXPIRE_AFTER = timedelta(minutes=15)


def to_payment_type(value: payment_pb2.PaymentType.ValueType) -> PaymentType:
    """Return the type of a payment."""
    return PaymentType(payment_pb2.PaymentType.Name(value).removeprefix("PAYMENT_TYPE_"))


def payment_type(kind: PaymentType) -> payment_pb2.PaymentType.ValueType:
    """Return the contract's value of a type of payment."""
    return payment_pb2.PaymentType.Value(f"PAYMENT_TYPE_{kind}")


def order(request: pb.CreateHoldRequest) -> Order:
    """Return the order that a capture pays; unset means a donation."""
    kind = to_payment_type(request.type) if request.type else PaymentType.DONATION
    return Order(kind, to_money(request.amount), request.description, request.course_id)


def expire_after(request: pb.CreateHoldRequest) -> timedelta:
    """Return the hold's time to live."""
    return request.expire_after.ToTimedelta() if request.HasField("expire_after") else EXPIRE_AFTER


def hold(held: Hold) -> payment_pb2.Hold:
    """Return a hold's message."""
    return payment_pb2.Hold(
        id=held.id,
        state=payment_pb2.HoldState.Value(f"HOLD_STATE_{held.state}"),
        amount=money(held.order.amount),
        captured_amount=money(Money(held.captured_minor, held.order.amount.currency)),
        expire_time=timestamp(held.expire_time),
        payment_id=held.payment_id,
        user_id=held.payer.user_id,
        create_time=timestamp(held.create_time),
        type=payment_type(held.order.type),
        description=held.order.description,
        course_id=held.order.course_id,
    )


def create_hold_response(held: Hold) -> pb.CreateHoldResponse:
    """Return the answer of CreateHold."""
    return pb.CreateHoldResponse(hold=hold(held))


def release_hold_response(held: Hold) -> pb.ReleaseHoldResponse:
    """Return the answer of ReleaseHold."""
    return pb.ReleaseHoldResponse(hold=hold(held))
