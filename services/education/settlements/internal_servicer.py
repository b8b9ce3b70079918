"""InternalService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import internal_service_pb2 as pb
from azora.education.v1 import internal_service_pb2_grpc

from services.education.settlements import convert
from services.shared.keyed import idempotent
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.education.settlements.operations import SettlementOperations
    from services.shared.inbox import Inbox


class InternalServicer(internal_service_pb2_grpc.InternalServiceServicer):
    """Enrolment closing and event delivery, for other services."""

    def __init__(self, settlements: SettlementOperations, inbox: Inbox) -> None:
        self._settlements = settlements
        self._inbox = inbox

    async def CloseEnrollment(self, request: pb.CloseEnrollmentRequest, context: Context) -> pb.CloseEnrollmentResponse:
        return await self._settlements.close_enrollment(
            payment_id=request.payment_id,
            by_payer=request.by_payer,
            idempotent=idempotent(
                request, pb.CloseEnrollmentResponse, convert.close_enrollment_response, key_field="refund_id"
            ),
        )

    async def ReceiveEvents(self, request: pb.ReceiveEventsRequest, context: Context) -> pb.ReceiveEventsResponse:
        results = await self._inbox.receive(current_principal().service, request.events)
        return pb.ReceiveEventsResponse(results=results)
