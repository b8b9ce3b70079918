"""InternalService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import internal_service_pb2 as pb
from azora.payment.v1 import internal_service_pb2_grpc

from services.shared.audit import convert as audit_convert
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.shared.audit.operations import AuditOperations
    from services.shared.inbox import Inbox


class InternalServicer(internal_service_pb2_grpc.InternalServiceServicer):
    """Event delivery and the audit log, for other services."""

    def __init__(self, inbox: Inbox, audit: AuditOperations) -> None:
        self._inbox = inbox
        self._audit = audit

    async def ReceiveEvents(self, request: pb.ReceiveEventsRequest, context: Context) -> pb.ReceiveEventsResponse:
        results = await self._inbox.receive(current_principal().service, request.events)
        return pb.ReceiveEventsResponse(results=results)

    async def ListAuditEvents(self, request: pb.ListAuditEventsRequest, context: Context) -> pb.ListAuditEventsResponse:
        events = await self._audit.list_events(
            selected=audit_convert.event_filter(request),
            before=audit_convert.position(request.before_time, request.before_id),
            limit=request.limit,
        )
        return pb.ListAuditEventsResponse(
            events=[audit_convert.audit_event(event, source="payment") for event in events]
        )

    async def VerifyAuditChain(
        self, request: pb.VerifyAuditChainRequest, context: Context
    ) -> pb.VerifyAuditChainResponse:
        verified = await self._audit.verify_chain(page_token=request.page_token)
        return pb.VerifyAuditChainResponse(
            chain=audit_convert.audit_chain(verified, service="payment"), next_page_token=verified.next_page_token
        )
