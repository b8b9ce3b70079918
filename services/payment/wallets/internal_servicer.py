"""InternalService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import internal_service_pb2 as pb
from azora.payment.v1 import internal_service_pb2_grpc

from services.shared.principal import current_principal

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.shared.inbox import Inbox


class InternalServicer(internal_service_pb2_grpc.InternalServiceServicer):
    """Event delivery, for other services."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def ReceiveEvents(self, request: pb.ReceiveEventsRequest, context: Context) -> pb.ReceiveEventsResponse:
        results = await self._inbox.receive(current_principal().service, request.events)
        return pb.ReceiveEventsResponse(results=results)
