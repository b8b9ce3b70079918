"""InternalService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import internal_service_pb2 as pb
from azora.education.v1 import internal_service_pb2_grpc

from services.education.enrollments import convert

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.education.enrollments.operations import SettlementOperations


class InternalServicer(internal_service_pb2_grpc.InternalServiceServicer):
    """Calls of other services."""

    def __init__(self, settlements: SettlementOperations) -> None:
        self._settlements = settlements

    async def CloseEnrollment(self, request: pb.CloseEnrollmentRequest, context: Context) -> pb.CloseEnrollmentResponse:
        return await self._settlements.close_enrollment(
            payment_id=request.payment_id.lower(),
            by_payer=request.by_payer,
            idempotent=convert.idempotent_close(request),
        )
