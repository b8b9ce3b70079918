"""PaymentService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import payment_service_pb2 as pb
from azora.payment.v1 import payment_service_pb2_grpc

from services.payment.holds import convert as holds_convert
from services.payment.payments import convert
from services.shared.convert import to_money
from services.shared.keyed import idempotent
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.payment.holds.operations import HoldOperations
    from services.payment.payments.operations import EarningOperations, PaymentOperations


class PaymentServicer(payment_service_pb2_grpc.PaymentServiceServicer):
    """Moving money: payments, refunds, holds, earning."""

    def __init__(self, payments: PaymentOperations, holds: HoldOperations, earnings: EarningOperations) -> None:
        self._payments = payments
        self._holds = holds
        self._earnings = earnings

    async def CreatePayment(self, request: pb.CreatePaymentRequest, context: Context) -> pb.CreatePaymentResponse:
        return await self._payments.create_payment(
            current_principal(),
            convert.order(request),
            idempotent(request, pb.CreatePaymentResponse, convert.create_payment_response),
        )

    async def GetPayment(self, request: pb.GetPaymentRequest, context: Context) -> pb.GetPaymentResponse:
        payment = await self._payments.get_payment(current_principal(), request.payment_id)
        return convert.get_payment_response(payment)

    async def CreateRefund(self, request: pb.CreateRefundRequest, context: Context) -> pb.CreateRefundResponse:
        return await self._payments.create_refund(
            current_principal(),
            request.payment_id,
            to_money(request.amount) if request.HasField("amount") else None,
            request.reason,
            idempotent(request, pb.CreateRefundResponse, convert.create_refund_response),
        )

    async def CreateHold(self, request: pb.CreateHoldRequest, context: Context) -> pb.CreateHoldResponse:
        return await self._holds.create_hold(
            current_principal(),
            holds_convert.order(request),
            holds_convert.expire_after(request),
            idempotent(request, pb.CreateHoldResponse, holds_convert.create_hold_response),
        )

    async def CaptureHold(self, request: pb.CaptureHoldRequest, context: Context) -> pb.CaptureHoldResponse:
        return await self._holds.capture_hold(
            current_principal(),
            request.hold_id,
            to_money(request.amount) if request.HasField("amount") else None,
            idempotent(request, pb.CaptureHoldResponse, holds_convert.capture_hold_response),
        )

    async def ReleaseHold(self, request: pb.ReleaseHoldRequest, context: Context) -> pb.ReleaseHoldResponse:
        return await self._holds.release_hold(
            current_principal(),
            request.hold_id,
            idempotent(request, pb.ReleaseHoldResponse, holds_convert.release_hold_response),
        )

    async def Earn(self, request: pb.EarnRequest, context: Context) -> pb.EarnResponse:
        return await self._earnings.earn(
            convert.earning(request), idempotent(request, pb.EarnResponse, convert.earn_response)
        )
