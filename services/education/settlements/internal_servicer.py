"""InternalService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import internal_service_pb2 as pb
from azora.education.v1 import internal_service_pb2_grpc

from services.education.settlements import convert
from services.shared.audit import convert as audit_convert
from services.shared.background_work import background_work
from services.shared.keyed import idempotent
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interceptors.base import Context
    from services.education.settlements.operations import SettlementOperations
    from services.shared.audit.operations import AuditOperations
    from services.shared.dead_letters import BackgroundWorkOperations
    from services.shared.inbox import Inbox
    from services.shared.personal_data import PersonOperations


class InternalServicer(internal_service_pb2_grpc.InternalServiceServicer):
    """Enrolment closing, event delivery, the data of persons, the audit log and background work, for other services."""

    def __init__(
        self,
        settlements: SettlementOperations,
        inbox: Inbox,
        persons: PersonOperations,
        audit: AuditOperations,
        work: BackgroundWorkOperations,
    ) -> None:
        self._settlements = settlements
        self._inbox = inbox
        self._persons = persons
        self._audit = audit
        self._work = work

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

    async def ErasePerson(self, request: pb.ErasePersonRequest, context: Context) -> pb.ErasePersonResponse:
        return pb.ErasePersonResponse(pending=await self._persons.erase_person(user_id=request.user_id))

    async def ExportPerson(
        self, request: pb.ExportPersonRequest, context: Context
    ) -> AsyncIterator[pb.ExportPersonResponse]:
        async for part in self._persons.export_person(user_id=request.user_id):
            yield pb.ExportPersonResponse(part=part)

    async def ListAuditEvents(self, request: pb.ListAuditEventsRequest, context: Context) -> pb.ListAuditEventsResponse:
        events = await self._audit.list_events(
            selected=audit_convert.event_filter(request),
            before=audit_convert.position(request.before_time, request.before_id),
            limit=request.limit,
        )
        return pb.ListAuditEventsResponse(
            events=[audit_convert.audit_event(event, source="education") for event in events]
        )

    async def VerifyAuditChain(
        self, request: pb.VerifyAuditChainRequest, context: Context
    ) -> pb.VerifyAuditChainResponse:
        verified = await self._audit.verify_chain(
            page_token=request.page_token, after=(request.after_seal_number, request.after_seal_hash)
        )
        return pb.VerifyAuditChainResponse(
            chain=audit_convert.audit_chain(verified, service="education"), next_page_token=verified.next_page_token
        )

    async def GetBackgroundWork(
        self, request: pb.GetBackgroundWorkRequest, context: Context
    ) -> pb.GetBackgroundWorkResponse:
        work = await self._work.get_background_work(service="education")
        return pb.GetBackgroundWorkResponse(work=background_work(work))
