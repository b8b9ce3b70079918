"""The ports over the typed stubs of the other services."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import grpc
from azora import client
from azora.payment.v1 import (
    payment_pb2,
    payment_service_pb2,
    payment_service_pb2_grpc,
)
from google.protobuf.duration_pb2 import Duration
from grpc import aio

from services.education.ports import Captured, PaymentRefused
from services.shared.convert import money, to_money
from services.shared.errors import DependencyUnavailable
from services.shared.principal import current_request

if TYPE_CHECKING:
    from datetime import timedelta

    from services.shared.money import Money

CALL_SECONDS = 4.0
"""How long one call may take: two of them fit into Enroll's timeout."""
VERDICTS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
}
"""What a service answers when it looked at the request; anything else leaves open what happened."""

Request = TypeVar("Request")
Response = TypeVar("Response")


class PaymentClient:
    """Payment over the mesh."""

    def __init__(self, channel: aio.Channel) -> None:
        self._payments = payment_service_pb2_grpc.PaymentServiceStub(channel)

    async def hold(
        self, *, key: str, user_id: str, amount: Money, description: str, course_id: str, lifetime: timedelta
    ) -> str:
        """Set money of the user's aside for a course; return the hold's id."""
        expire_after = Duration()
        expire_after.FromTimedelta(lifetime)
        request = payment_service_pb2.CreateHoldRequest(
            amount=money(amount),
            expire_after=expire_after,
            request_id=key,
            user_id=user_id,
            type=payment_pb2.PAYMENT_TYPE_ENROLLMENT,
            description=description,
            course_id=course_id,
        )
        return (await _call(self._payments.CreateHold, request)).hold.id

    async def capture(self, *, key: str, user_id: str, hold_id: str) -> Captured:
        """Take all that was set aside; return the payment."""
        request = payment_service_pb2.CaptureHoldRequest(hold_id=hold_id, request_id=key, user_id=user_id)
        payment = (await _call(self._payments.CaptureHold, request)).payment
        return Captured(payment.id, to_money(payment.amount))

    async def release(self, *, key: str, user_id: str, hold_id: str) -> None:
        """Give back what was set aside."""
        request = payment_service_pb2.ReleaseHoldRequest(hold_id=hold_id, request_id=key, user_id=user_id)
        await _call(self._payments.ReleaseHold, request)

    async def earn(self, *, reference: str, user_id: str, amount: Money, description: str) -> None:
        """Issue tokens to the user, once per reference."""
        request = payment_service_pb2.EarnRequest(
            user_id=user_id,
            amount=money(amount),
            reference=reference,
            description=description,
            request_id=reference,
        )
        await _call(self._payments.Earn, request)


async def _call(method: aio.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
    """Call as part of the request being served, if one is: its ids go along, and the call ends before it does."""
    served = current_request()
    try:
        return await method(
            request,
            timeout=served.remaining_seconds(CALL_SECONDS) if served else CALL_SECONDS,
            metadata=(("traceparent", served.traceparent), ("x-request-id", served.id)) if served else None,
        )
    except aio.AioRpcError as error:
        if error.code() in VERDICTS:
            raise PaymentRefused(client.error_reason(error)) from error
        raise DependencyUnavailable(retry_after_seconds=1) from error
