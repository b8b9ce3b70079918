"""Auth on the mesh, for services that run as processes of their own: the key of a test's tokens, none is revoked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azora.auth.v1 import internal_service_pb2, internal_service_pb2_grpc, token_service_pb2, token_service_pb2_grpc
from jwt.algorithms import ECAlgorithm

from tests.support.serving import KEY_ID

if TYPE_CHECKING:
    from grpc import aio

    from tests.support.serving import Signer


@dataclass(slots=True)
class Auth(token_service_pb2_grpc.TokenServiceServicer, internal_service_pb2_grpc.InternalServiceServicer):
    """Publishes the signer's key, and says that nothing was revoked."""

    signer: Signer

    async def GetJwks(
        self, request: token_service_pb2.GetJwksRequest, context: Any
    ) -> token_service_pb2.GetJwksResponse:
        """Return the key."""
        key = await self.signer.key(KEY_ID)
        assert key is not None
        published = ECAlgorithm.to_jwk(key, as_dict=True)
        return token_service_pb2.GetJwksResponse(keys=[token_service_pb2.Jwk(**published, kid=KEY_ID, alg="ES256")])

    async def ListRevocations(
        self, request: internal_service_pb2.ListRevocationsRequest, context: Any
    ) -> internal_service_pb2.ListRevocationsResponse:
        """Return an empty page."""
        answer = internal_service_pb2.ListRevocationsResponse()
        answer.database_time.GetCurrentTime()
        return answer

    def register(self, server: aio.Server) -> None:
        """Serve both of Auth's services."""
        token_service_pb2_grpc.add_TokenServiceServicer_to_server(self, server)
        internal_service_pb2_grpc.add_InternalServiceServicer_to_server(self, server)
