"""InternalService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import internal_service_pb2_grpc

from services.auth.revocations import convert

if TYPE_CHECKING:
    from azora.auth.v1 import internal_service_pb2 as pb

    from interceptors.base import Context
    from services.auth.revocations.operations import RevocationOperations


class InternalServicer(internal_service_pb2_grpc.InternalServiceServicer):
    """Revocations of access tokens, for other services."""

    def __init__(self, revocations: RevocationOperations) -> None:
        self._revocations = revocations

    async def ListRevocations(self, request: pb.ListRevocationsRequest, context: Context) -> pb.ListRevocationsResponse:
        return convert.list_revocations_response(
            await self._revocations.list_revocations(since=convert.since(request), page_token=request.page_token)
        )
