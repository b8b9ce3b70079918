"""ApiKeyService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import api_key_service_pb2 as pb
from azora.auth.v1 import api_key_service_pb2_grpc

from services.auth.api_keys import convert
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.auth.api_keys.operations import ApiKeyOperations


class ApiKeyServicer(api_key_service_pb2_grpc.ApiKeyServiceServicer):
    """API keys of the caller, and their exchange for access tokens."""

    def __init__(self, operations: ApiKeyOperations) -> None:
        self._operations = operations

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Context) -> pb.CreateApiKeyResponse:
        issued = await self._operations.create_api_key(
            principal=current_principal(),
            name=request.name,
            scopes=request.scopes,
            expire_time=convert.expire_time(request),
            password=request.password,
            code=request.code,
        )
        return convert.create_api_key_response(issued)

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Context) -> pb.ListApiKeysResponse:
        page = await self._operations.list_api_keys(
            principal=current_principal(), page_size=request.page_size, page_token=request.page_token
        )
        return convert.list_api_keys_response(page)

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Context) -> pb.RevokeApiKeyResponse:
        await self._operations.revoke_api_key(principal=current_principal(), api_key_id=request.api_key_id)
        return pb.RevokeApiKeyResponse()

    async def ExchangeApiKey(self, request: pb.ExchangeApiKeyRequest, context: Context) -> pb.ExchangeApiKeyResponse:
        return convert.exchange_api_key_response(await self._operations.exchange_api_key(key=request.key))
