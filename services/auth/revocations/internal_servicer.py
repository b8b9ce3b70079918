"""InternalService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import internal_service_pb2 as pb
from azora.auth.v1 import internal_service_pb2_grpc

from services.auth.revocations import convert
from services.shared.background_work import background_work

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.auth.revocations.operations import RevocationOperations
    from services.shared.dead_letters import BackgroundWorkOperations


class InternalServicer(internal_service_pb2_grpc.InternalServiceServicer):
    """Revocations of access tokens and background work, for other services."""

    def __init__(self, revocations: RevocationOperations, work: BackgroundWorkOperations) -> None:
        self._revocations = revocations
        self._work = work

    async def ListRevocations(self, request: pb.ListRevocationsRequest, context: Context) -> pb.ListRevocationsResponse:
        return convert.list_revocations_response(
            await self._revocations.list_revocations(since=convert.since(request), page_token=request.page_token)
        )

    async def GetBackgroundWork(
        self, request: pb.GetBackgroundWorkRequest, context: Context
    ) -> pb.GetBackgroundWorkResponse:
        work = await self._work.get_background_work(service="auth")
        return pb.GetBackgroundWorkResponse(work=background_work(work))
