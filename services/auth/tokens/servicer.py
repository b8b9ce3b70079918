"""TokenService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1.token_service_pb2_grpc import TokenServiceServicer

from services.auth.tokens import convert

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from azora.auth.v1 import token_service_pb2 as pb
    from grpc.aio import ServicerContext

    from services.auth.tokens.operations import Tokens

    Context: TypeAlias = ServicerContext[Any, Any]


class TokenServicer(TokenServiceServicer):
    """What anyone needs in order to verify access tokens."""

    def __init__(self, operations: Tokens) -> None:
        self._operations = operations

    async def GetJwks(self, request: pb.GetJwksRequest, context: Context) -> pb.GetJwksResponse:
        return convert.jwks_response(await self._operations.public_keys())

    async def GetOpenIdConfiguration(
        self, request: pb.GetOpenIdConfigurationRequest, context: Context
    ) -> pb.GetOpenIdConfigurationResponse:
        return convert.configuration_response(self._operations.discovery())
