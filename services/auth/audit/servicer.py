"""AuditService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import audit_service_pb2_grpc

from services.auth.audit import convert
from services.shared.audit.convert import event_filter, known_seals
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from azora.auth.v1 import audit_service_pb2 as pb

    from interceptors.base import Context
    from services.auth.audit.operations import AuditOperations


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """The audit logs of all services."""

    def __init__(self, operations: AuditOperations) -> None:
        self._operations = operations

    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        found = await self._operations.list_events(
            principal=current_principal(),
            selected=event_filter(request),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return convert.list_events_response(found)

    async def VerifyChain(self, request: pb.VerifyChainRequest, context: Context) -> pb.VerifyChainResponse:
        return convert.verify_chain_response(
            await self._operations.verify_chain(
                principal=current_principal(),
                after=known_seals(request.after_seals),
                page_token=request.page_token,
            )
        )
