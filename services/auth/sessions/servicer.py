"""SessionService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import session_service_pb2 as pb
from azora.auth.v1 import session_service_pb2_grpc

from services.auth.sessions import convert
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.auth.sessions.operations import SessionOperations


class SessionServicer(session_service_pb2_grpc.SessionServiceServicer):
    """The caller's own sessions."""

    def __init__(self, operations: SessionOperations) -> None:
        self._operations = operations

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Context) -> pb.ListSessionsResponse:
        page = await self._operations.list_sessions(
            principal=current_principal(), page_size=request.page_size, page_token=request.page_token
        )
        return convert.list_sessions_response(page, current_id=current_principal().session_id)

    async def RevokeSession(self, request: pb.RevokeSessionRequest, context: Context) -> pb.RevokeSessionResponse:
        await self._operations.revoke_session(principal=current_principal(), session_id=request.session_id)
        return pb.RevokeSessionResponse()

    async def RevokeOtherSessions(
        self, request: pb.RevokeOtherSessionsRequest, context: Context
    ) -> pb.RevokeOtherSessionsResponse:
        await self._operations.revoke_other_sessions(principal=current_principal())
        return pb.RevokeOtherSessionsResponse()

    async def RevokeAllSessions(
        self, request: pb.RevokeAllSessionsRequest, context: Context
    ) -> pb.RevokeAllSessionsResponse:
        await self._operations.revoke_all_sessions(principal=current_principal())
        return pb.RevokeAllSessionsResponse()
