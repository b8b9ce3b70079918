"""The ports over the typed stubs of the other services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import internal_service_pb2 as pb
from azora.education.v1 import internal_service_pb2_grpc

if TYPE_CHECKING:
    from grpc import aio


class EducationClient:
    """Education over the mesh, on a channel that raises Refused and DependencyUnavailable."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = internal_service_pb2_grpc.InternalServiceStub(channel)

    async def close_enrollment(self, *, payment_id: str, refund_id: str, by_payer: bool) -> None:
        """End the enrolment that a payment bought."""
        request = pb.CloseEnrollmentRequest(payment_id=payment_id, refund_id=refund_id, by_payer=by_payer)
        await self._stub.CloseEnrollment(request)
