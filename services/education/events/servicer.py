"""InternalService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azora.education.v1 import internal_service_pb2 as pb
from azora.education.v1 import internal_service_pb2_grpc

from services.education.events import convert

if TYPE_CHECKING:
    from services.education.events.operations import EventOperations


class InternalServicer(internal_service_pb2_grpc.InternalServiceServicer):
    """Translates; the operations do the work."""

    def __init__(self, operations: EventOperations) -> None:
        self._operations = operations

    async def ReceiveEvents(self, request: pb.ReceiveEventsRequest, context: Any) -> pb.ReceiveEventsResponse:
        await self._operations.receive([convert.event(event) for event in request.events])
        return pb.ReceiveEventsResponse()
