"""PaymentService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import payment_service_pb2 as pb
from azora.payment.v1 import payment_service_pb2_grpc

from services.payment.holds import convert as hold_convert
from services.payment.payments import convert
from services.shared.keyed import idempotent
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.payment.holds.operations import HoldOperations
    from services.payment.payments.operations import EarningOperations, PaymentOperations, RefundOperations


class PaymentServicer(payment_service_pb2_grpc.PaymentServiceServicer):
    """Payments, refunds, holds and earnings."""

    def __init__(
        self,
        *,
        payments: PaymentOperations,
        refunds: RefundOperations,
        holds: HoldOperations,
        earnings: EarningOperations,
    ) -> None:
        self._payments = payments
        self._refunds = refunds
        self._holds = holds
        self._earnings = earnings

    async def CreatePayment(self, request: pb.CreatePaymentRequest, context: Context) -> pb.CreatePaymentResponse:
        return await self._payments.create_payment(
            principal=current_principal(),
            order=convert.order(request),
            idempotent=idempotent(request, pb.CreatePaymentResponse, convert.create_payment_response),
        )

    async def GetPayment(self, request: pb.GetPaymentRequest, context: Context) -> pb.GetPaymentResponse:
        payment = await self._payments.get_payment(principal=current_principal(), payment_id=request.payment_id)
        return convert.get_payment_response(payment)

    async def CreateRefund(self, request: pb.CreateRefundRequest, context: Context) -> pb.CreateRefundResponse:
        return await self._refunds.create_refund(
            principal=current_principal(),
            payment_id=request.payment_id,
            amount=convert.amount(request),
            reason=request.reason,
            idempotent=idempotent(request, pb.CreateRefundResponse, convert.create_refund_response),
        )

    async def GetRefund(self, request: pb.GetRefundRequest, context: Context) -> pb.GetRefundResponse:
        refund = await self._refunds.get_refund(principal=current_principal(), refund_id=request.refund_id)
        return convert.get_refund_response(refund)

    async def CreateHold(self, request: pb.CreateHoldRequest, context: Context) -> pb.CreateHoldResponse:
        return await self._holds.create_hold(
            principal=current_principal(),
            order=hold_convert.order(request),
            expire_after=hold_convert.expire_after(request),
            idempotent=idempotent(request, pb.CreateHoldResponse, hold_convert.create_hold_response),
        )

    async def CaptureHold(self, request: pb.CaptureHoldRequest, context: Context) -> pb.CaptureHoldResponse:
        return await self._payments.capture_hold(
            principal=current_principal(),
            hold_id=request.hold_id,
            amount=convert.amount(request),
            idempotent=idempotent(request, pb.CaptureHoldResponse, convert.capture_hold_response),
        )

    async def ReleaseHold(self, request: pb.ReleaseHoldRequest, context: Context) -> pb.ReleaseHoldResponse:
        return await self._holds.release_hold(
            principal=current_principal(),
            hold_id=request.hold_id,
            idempotent=idempotent(request, pb.ReleaseHoldResponse, hold_convert.release_hold_response),
        )

    async def Earn(self, request: pb.EarnRequest, context: Context) -> pb.EarnResponse:
        return await self._earnings.earn(
            principal=current_principal(),
            earning=convert.earning(request),
            idempotent=idempotent(request, pb.EarnResponse, convert.earn_response),
        )
