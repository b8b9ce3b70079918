"""Conversion between payments, refunds, earnings and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import events_pb2, payment_pb2
from azora.payment.v1 import payment_service_pb2 as pb

from services.payment.holds.convert import hold, payment_type, to_payment_type
from services.payment.holds.model import Order
from services.payment.payments.model import Earning
from services.payment.transactions.convert import transaction
from services.shared.convert import money, timestamp, to_money
from services.shared.money import Money

if TYPE_CHECKING:
    from services.payment.holds.model import Hold
    from services.payment.payments.model import Payment, PaymentCompleted, PaymentRefunded, Refund
    from services.payment.transactions.model import Movement


def order(request: pb.CreatePaymentRequest) -> Order:
    """Return the order to pay."""
    return Order(to_payment_type(request.type), to_money(request.amount), request.description, request.course_id)


def amount(request: pb.CreateRefundRequest | pb.CaptureHoldRequest) -> Money | None:
    """Return the amount of the request; None means all there is."""
    return to_money(request.amount) if request.HasField("amount") else None


def earning(request: pb.EarnRequest) -> Earning:
    """Return what was earned."""
    return Earning(request.user_id, to_money(request.amount), request.reference, request.description)


def payment(paid: Payment) -> payment_pb2.Payment:
    """Return a payment's message."""
    currency = paid.order.amount.currency
    return payment_pb2.Payment(
        id=paid.id,
        state=payment_pb2.PaymentState.Value(f"PAYMENT_STATE_{paid.state}"),
        type=payment_type(paid.order.type),
        amount=money(paid.order.amount),
        refunded_amount=money(Money(paid.refunded_minor, currency)),
        pending_refund_amount=money(Money(paid.pending_minor, currency)),
        description=paid.order.description,
        course_id=paid.order.course_id,
        user_id=paid.payer.user_id,
        refundable_until=timestamp(paid.refundable_until),
        create_time=timestamp(paid.create_time),
    )


def refund(refunded: Refund) -> payment_pb2.Refund:
    """Return a refund's message."""
    return payment_pb2.Refund(
        id=refunded.id,
        payment_id=refunded.payment_id,
        amount=money(refunded.amount),
        reason=refunded.reason,
        create_time=timestamp(refunded.create_time),
        state=payment_pb2.RefundState.Value(f"REFUND_STATE_{refunded.state}"),
        decide_time=timestamp(refunded.decide_time),
        rejection_reason=refunded.rejection,
    )


def create_payment_response(paid: Payment) -> pb.CreatePaymentResponse:
    """Return the answer of CreatePayment."""
    return pb.CreatePaymentResponse(payment=payment(paid))


def get_payment_response(paid: Payment) -> pb.GetPaymentResponse:
    """Return the answer of GetPayment."""
    return pb.GetPaymentResponse(payment=payment(paid))


def capture_hold_response(captured: tuple[Hold, Payment]) -> pb.CaptureHoldResponse:
    """Return the answer of CaptureHold."""
    return pb.CaptureHoldResponse(hold=hold(captured[0]), payment=payment(captured[1]))


def create_refund_response(refunded: Refund) -> pb.CreateRefundResponse:
    """Return the answer of CreateRefund."""
    return pb.CreateRefundResponse(refund=refund(refunded))


def get_refund_response(refunded: Refund) -> pb.GetRefundResponse:
    """Return the answer of GetRefund."""
    return pb.GetRefundResponse(refund=refund(refunded))


def earn_response(movement: Movement) -> pb.EarnResponse:
    """Return the answer of Earn."""
    return pb.EarnResponse(transaction=transaction(movement))


def payment_completed(event: PaymentCompleted) -> events_pb2.PaymentCompleted:
    """Return the event's message."""
    paid = event.payment
    return events_pb2.PaymentCompleted(
        payment_id=paid.id,
        user_id=paid.payer.user_id,
        type=payment_type(paid.order.type),
        amount=money(paid.order.amount),
        course_id=paid.order.course_id,
    )


def payment_refunded(event: PaymentRefunded) -> events_pb2.PaymentRefunded:
    """Return the event's message."""
    return events_pb2.PaymentRefunded(
        payment_id=event.payment_id,
        in_full=event.in_full,
        user_id=event.user_id,
        refund_id=event.refund_id,
        amount=money(event.amount) if event.amount else None,
    )
