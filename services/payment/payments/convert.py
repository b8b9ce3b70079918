"""Between payments and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import events_pb2, payment_pb2, payment_service_pb2

from services.payment.payments.model import Earning, Order, PaymentType
from services.payment.wallets import convert
from services.shared.convert import money, timestamp, to_money
from services.shared.money import Money

if TYPE_CHECKING:
    from services.payment.payments.model import Payment, PaymentRefunded, Refund
    from services.payment.wallets.model import Movement


def order(request: payment_service_pb2.CreatePaymentRequest) -> Order:
    """Return what is to be paid."""
    return Order(to_type(request.type), to_money(request.amount), request.description, request.course_id)


def earning(request: payment_service_pb2.EarnRequest) -> Earning:
    """Return what was earned."""
    return Earning(request.user_id, to_money(request.amount), request.reference, request.description)


def to_type(value: payment_pb2.PaymentType.ValueType) -> PaymentType:
    """Return the type of a payment."""
    return PaymentType(payment_pb2.PaymentType.Name(value).removeprefix("PAYMENT_TYPE_"))


def from_type(kind: PaymentType) -> payment_pb2.PaymentType.ValueType:
    """Return the contract's value of a type of payment."""
    return payment_pb2.PaymentType.Value(f"PAYMENT_TYPE_{kind}")


def payment(paid: Payment) -> payment_pb2.Payment:
    """Return a payment's message."""
    return payment_pb2.Payment(
        id=paid.id,
        state=payment_pb2.PaymentState.Value(f"PAYMENT_STATE_{paid.state}"),
        type=from_type(paid.order.type),
        amount=money(paid.order.amount),
        refunded_amount=money(Money(paid.refunded_minor, paid.order.amount.currency)),
        description=paid.order.description,
        course_id=paid.order.course_id,
        user_id=paid.payer.user_id,
        refundable_until=timestamp(paid.refundable_until),
        create_time=timestamp(paid.create_time),
    )


def create_payment_response(paid: Payment) -> payment_service_pb2.CreatePaymentResponse:
    """Return the answer with a new payment."""
    return payment_service_pb2.CreatePaymentResponse(payment=payment(paid))


def get_payment_response(paid: Payment) -> payment_service_pb2.GetPaymentResponse:
    """Return the answer with a payment."""
    return payment_service_pb2.GetPaymentResponse(payment=payment(paid))


def create_refund_response(refund: Refund) -> payment_service_pb2.CreateRefundResponse:
    """Return the answer with a new refund."""
    return payment_service_pb2.CreateRefundResponse(
        refund=payment_pb2.Refund(
            id=refund.id,
            payment_id=refund.payment_id,
            amount=money(refund.amount),
            reason=refund.reason,
            create_time=timestamp(refund.create_time),
        )
    )


def payment_refunded(event: PaymentRefunded) -> events_pb2.PaymentRefunded:
    """Return the event's message."""
    return events_pb2.PaymentRefunded(payment_id=event.payment_id, in_full=event.in_full)


def earn_response(movement: Movement) -> payment_service_pb2.EarnResponse:
    """Return the answer with the movement of the earner's wallet."""
    return payment_service_pb2.EarnResponse(transaction=convert.transaction(movement))
