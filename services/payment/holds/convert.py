"""Between holds and their messages."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from azora.payment.v1 import payment_pb2, payment_service_pb2

from services.payment.payments.convert import from_type, payment, to_type
from services.payment.payments.model import Order, PaymentType
from services.shared.convert import money, timestamp, to_money
from services.shared.money import Money

if TYPE_CHECKING:
    from services.payment.holds.model import Hold
    from services.payment.payments.model import Payment

EXPIRE_AFTER = timedelta(minutes=15)


def order(request: payment_service_pb2.CreateHoldRequest) -> Order:
    """Return what capturing the hold will pay for; unset means a donation."""
    kind = to_type(request.type) if request.type else PaymentType.DONATION
    return Order(kind, to_money(request.amount), request.description, request.course_id)


def expire_after(request: payment_service_pb2.CreateHoldRequest) -> timedelta:
    """Return for how long to hold."""
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
        type=from_type(held.order.type),
        description=held.order.description,
        course_id=held.order.course_id,
    )


def create_hold_response(held: Hold) -> payment_service_pb2.CreateHoldResponse:
    """Return the answer with a new hold."""
    return payment_service_pb2.CreateHoldResponse(hold=hold(held))


def capture_hold_response(captured: tuple[Hold, Payment]) -> payment_service_pb2.CaptureHoldResponse:
    """Return the answer with a captured hold and the payment it made."""
    return payment_service_pb2.CaptureHoldResponse(hold=hold(captured[0]), payment=payment(captured[1]))


def release_hold_response(held: Hold) -> payment_service_pb2.ReleaseHoldResponse:
    """Return the answer with a released hold."""
    return payment_service_pb2.ReleaseHoldResponse(hold=hold(held))
