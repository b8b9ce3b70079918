"""PaymentService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import payment_service_pb2 as pb
from azora.payment.v1 import payment_service_pb2_grpc

from services.payment.holds import convert as hold_convert
from services.payment.ledger.convert import conditions
from services.payment.payments import convert
from services.payment.transfers import convert as transfer_convert
from services.shared.keyed import idempotent
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.payment.holds.operations import HoldOperations
    from services.payment.payments.operations import EarningOperations, PaymentOperations, RefundOperations
    from services.payment.transfers.operations import TransferOperations


class PaymentServicer(payment_service_pb2_grpc.PaymentServiceServicer):
    """Payments, transfers, refunds, holds and earnings."""

    def __init__(
        self,
        *,
        payments: PaymentOperations,
        transfers: TransferOperations,
        refunds: RefundOperations,
        holds: HoldOperations,
        earnings: EarningOperations,
    ) -> None:
        self._payments = payments
        self._transfers = transfers
        self._refunds = refunds
        self._holds = holds
        self._earnings = earnings

    async def CreatePayment(self, request: pb.CreatePaymentRequest, context: Context) -> pb.CreatePaymentResponse:
        return await self._payments.create_payment(
            principal=current_principal(),
            order=convert.order(request),
            conditions=conditions(request),
            validate_only=request.validate_only,
            idempotent=idempotent(request, pb.CreatePaymentResponse, convert.create_payment_response),
        )

    async def GetPayment(self, request: pb.GetPaymentRequest, context: Context) -> pb.GetPaymentResponse:
        payment = await self._payments.get_payment(principal=current_principal(), payment_id=request.payment_id)
        return convert.get_payment_response(payment)

    async def CreateTransfer(self, request: pb.CreateTransferRequest, context: Context) -> pb.CreateTransferResponse:
        return await self._transfers.create_transfer(
            principal=current_principal(),
            order=transfer_convert.order(request),
            conditions=conditions(request),
            validate_only=request.validate_only,
            idempotent=idempotent(request, pb.CreateTransferResponse, transfer_convert.create_transfer_response),
        )

    async def GetTransfer(self, request: pb.GetTransferRequest, context: Context) -> pb.GetTransferResponse:
        transfer = await self._transfers.get_transfer(principal=current_principal(), transfer_id=request.transfer_id)
        return transfer_convert.get_transfer_response(transfer)

    async def BatchCreateTransfers(
        self, request: pb.BatchCreateTransfersRequest, context: Context
    ) -> pb.BatchCreateTransfersResponse:
        encode = transfer_convert.batch_create_transfers_response
        return await self._transfers.batch_create_transfers(
            principal=current_principal(),
            orders=[transfer_convert.order(transfer) for transfer in request.transfers],
            partial=request.return_partial_success,
            conditions=conditions(request),
            validate_only=request.validate_only,
            idempotent=idempotent(request, pb.BatchCreateTransfersResponse, encode),
        )

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
            conditions=conditions(request),
            validate_only=request.validate_only,
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
