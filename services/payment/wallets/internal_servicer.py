"""InternalService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import internal_service_pb2 as pb
from azora.payment.v1 import internal_service_pb2_grpc

from services.payment.wallets import convert
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interceptors.base import Context
    from services.payment.wallets.operations import WalletOperations
    from services.shared.inbox import Inbox
    from services.shared.personal_data import PersonOperations


class InternalServicer(internal_service_pb2_grpc.InternalServiceServicer):
    """Event delivery and the data of persons, for other services."""

    def __init__(self, inbox: Inbox, persons: PersonOperations, wallets: WalletOperations) -> None:
        self._inbox = inbox
        self._persons = persons
        self._wallets = wallets

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

    async def ListBalances(self, request: pb.ListBalancesRequest, context: Context) -> pb.ListBalancesResponse:
        return convert.list_balances_response(await self._wallets.list_balances(user_id=request.user_id))
