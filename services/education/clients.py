"""The ports over the typed stubs of the other services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import (
    payment_pb2,
    payment_service_pb2,
    payment_service_pb2_grpc,
)
from google.protobuf.duration_pb2 import Duration

from services.education.ports import Captured
from services.shared.convert import money, to_money

if TYPE_CHECKING:
    from datetime import timedelta

    from grpc import aio

    from services.shared.money import Money


class PaymentClient:
    """Payment over the mesh, on a channel that raises Refused and DependencyUnavailable."""

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
        return (await self._payments.CreateHold(request)).hold.id

    async def capture(self, *, key: str, user_id: str, hold_id: str) -> Captured:
        """Take all that was set aside; return the payment."""
        request = payment_service_pb2.CaptureHoldRequest(hold_id=hold_id, request_id=key, user_id=user_id)
        payment = (await self._payments.CaptureHold(request)).payment
        return Captured(payment.id, to_money(payment.amount))

    async def release(self, *, key: str, user_id: str, hold_id: str) -> None:
        """Give back what was set aside."""
        request = payment_service_pb2.ReleaseHoldRequest(hold_id=hold_id, request_id=key, user_id=user_id)
        await self._payments.ReleaseHold(request)

    async def earn(self, *, reference: str, user_id: str, amount: Money, description: str) -> None:
        """Issue tokens to the user, once per reference."""
        request = payment_service_pb2.EarnRequest(
            user_id=user_id,
            amount=money(amount),
            reference=reference,
            description=description,
            request_id=reference,
        )
        await self._payments.Earn(request)
