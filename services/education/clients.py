"""The ports over the typed stubs of the other services."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from azora.payment.v1 import (
    internal_service_pb2,
    internal_service_pb2_grpc,
    payment_pb2,
    payment_service_pb2,
    payment_service_pb2_grpc,
)
from azora.type.v1 import money_pb2
from google.protobuf.duration_pb2 import Duration

from services.education.ports import PaymentRefused
from services.shared.errors import Refused

if TYPE_CHECKING:
    from datetime import timedelta

    from grpc import aio

    from services.shared.money import Money

Request = TypeVar("Request")
Response = TypeVar("Response")


class PaymentClient:
    """Payment over the mesh."""

    def __init__(self, channel: aio.Channel) -> None:
        self._payments = payment_service_pb2_grpc.PaymentServiceStub(channel)
        self._internal = internal_service_pb2_grpc.InternalServiceStub(channel)

    async def hold(
        self, *, key: str, user_id: str, amount: Money, description: str, course_id: str, lifetime: timedelta
    ) -> str:
        """Set money of the user's aside for a course; return the hold's id."""
        expire_after = Duration()
        expire_after.FromTimedelta(lifetime)
        request = payment_service_pb2.CreateHoldRequest(
            amount=_money(amount),
            expire_after=expire_after,
            request_id=key,
            user_id=user_id,
            type=payment_pb2.PAYMENT_TYPE_ENROLLMENT,
            description=description,
            course_id=course_id,
        )
        return (await _call(self._payments.CreateHold, request)).hold.id

    async def capture(self, *, key: str, user_id: str, hold_id: str) -> str:
        """Take all that was set aside; return the payment's id."""
        request = payment_service_pb2.CaptureHoldRequest(hold_id=hold_id, request_id=key, user_id=user_id)
        return (await _call(self._payments.CaptureHold, request)).payment.id

    async def release(self, *, key: str, user_id: str, hold_id: str) -> None:
        """Give back what was set aside."""
        request = payment_service_pb2.ReleaseHoldRequest(hold_id=hold_id, request_id=key, user_id=user_id)
        await _call(self._payments.ReleaseHold, request)

    async def earn(self, *, reference: str, user_id: str, amount: Money, description: str) -> None:
        """Issue tokens to the user, once per reference."""
        request = payment_service_pb2.EarnRequest(
            user_id=user_id,
            amount=_money(amount),
            reference=reference,
            description=description,
            request_id=reference,
        )
        await _call(self._payments.Earn, request)

    async def close_refund_window(self, *, payment_id: str) -> None:
        """End the time in which the payer may ask for a refund."""
        request = internal_service_pb2.CloseRefundWindowRequest(payment_id=payment_id)
        await _call(self._internal.CloseRefundWindow, request)


async def _call(method: aio.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
    try:
        return await method(request)
    except Refused as error:
        raise PaymentRefused(error.reason, error.code, error.metadata) from error


def _money(amount: Money) -> money_pb2.Money:
    return money_pb2.Money(minor_units=amount.amount_minor, currency=amount.currency)
