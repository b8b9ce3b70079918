"""Auth on the mesh, for services that run as processes of their own: it publishes the key of a test's tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azora.auth.v1 import token_service_pb2, token_service_pb2_grpc
from jwt.algorithms import ECAlgorithm

from tests.support.serving import KEY_ID

if TYPE_CHECKING:
    from tests.support.serving import Signer


@dataclass(slots=True)
class Auth(token_service_pb2_grpc.TokenServiceServicer):
    """Publishes the signer's key."""

    signer: Signer

    async def GetJwks(
        self, request: token_service_pb2.GetJwksRequest, context: Any
    ) -> token_service_pb2.GetJwksResponse:
        """Return the key."""
        key = await self.signer.key(KEY_ID)
        assert key is not None
        published = ECAlgorithm.to_jwk(key, as_dict=True)
        return token_service_pb2.GetJwksResponse(keys=[token_service_pb2.Jwk(**published, kid=KEY_ID, alg="ES256")])
