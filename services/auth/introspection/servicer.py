"""TokenService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import token_service_pb2 as pb
from azora.auth.v1 import token_service_pb2_grpc

from services.auth.introspection import convert
from services.shared.encoded import Encoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptors.base import Context
    from services.auth.introspection.operations import IntrospectionOperations
    from services.auth.signing_keys.model import PublicKey
    from services.auth.tokens.operations import TokenOperations


class TokenServicer(token_service_pb2_grpc.TokenServiceServicer):
    """The keys and metadata that access tokens are verified with; introspection and revocation of tokens."""

    def __init__(self, operations: IntrospectionOperations, tokens: TokenOperations) -> None:
        self._operations = operations
        self._tokens = tokens
        self._keys: Sequence[PublicKey] = ()
        self._encoded: Encoded[pb.GetJwksResponse] = Encoded(b"")
        """The answer with these keys."""

    async def GetJwks(self, request: pb.GetJwksRequest, context: Context) -> pb.GetJwksResponse:
        keys = await self._tokens.get_jwks()
        if keys is not self._keys:
            self._keys, self._encoded = keys, Encoded(convert.get_jwks_response(keys).SerializeToString())
        return self._encoded.as_response()

    async def GetOpenIdConfiguration(
        self, request: pb.GetOpenIdConfigurationRequest, context: Context
    ) -> pb.GetOpenIdConfigurationResponse:
        return convert.get_open_id_configuration_response(self._tokens.get_open_id_configuration())

    async def Introspect(self, request: pb.IntrospectRequest, context: Context) -> pb.IntrospectResponse:
        return convert.introspect_response(await self._operations.introspect_token(token=convert.token(request)))

    async def IntrospectToken(self, request: pb.IntrospectTokenRequest, context: Context) -> pb.IntrospectTokenResponse:
        return convert.introspect_token_response(await self._operations.introspect_token(token=request.token))

    async def Revoke(self, request: pb.RevokeRequest, context: Context) -> pb.RevokeResponse:
        await self._operations.revoke_token(token=convert.token(request))
        return pb.RevokeResponse()

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Context) -> pb.RevokeTokenResponse:
        await self._operations.revoke_token(token=request.token)
        return pb.RevokeTokenResponse()
