"""InternalService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import internal_service_pb2 as pb
from azora.payment.v1 import internal_service_pb2_grpc

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.payment.payments.operations import PaymentOperations


class InternalServicer(internal_service_pb2_grpc.InternalServiceServicer):
    """What other services tell Payment."""

    def __init__(self, payments: PaymentOperations) -> None:
        self._payments = payments

    async def CloseRefundWindow(
        self, request: pb.CloseRefundWindowRequest, context: Context
    ) -> pb.CloseRefundWindowResponse:
        await self._payments.close_refund_window(request.payment_id)
        return pb.CloseRefundWindowResponse()
