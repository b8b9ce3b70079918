"""CredentialService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import credential_service_pb2 as pb
from azora.education.v1 import credential_service_pb2_grpc

from services.education.credentials import convert

if TYPE_CHECKING:
    from google.api.httpbody_pb2 import HttpBody

    from interceptors.base import Context
    from services.education.credentials.operations import CredentialOperations


class CredentialServicer(credential_service_pb2_grpc.CredentialServiceServicer):
    """What anyone verifies credentials with."""

    def __init__(self, operations: CredentialOperations) -> None:
        self._operations = operations

    async def GetJwks(self, request: pb.GetJwksRequest, context: Context) -> pb.GetJwksResponse:
        return convert.get_jwks_response(await self._operations.get_jwks())

    async def GetIssuer(self, request: pb.GetIssuerRequest, context: Context) -> pb.GetIssuerResponse:
        return convert.get_issuer_response(self._operations.get_issuer())

    async def GetStatusList(self, request: pb.GetStatusListRequest, context: Context) -> HttpBody:
        return convert.status_list_body(await self._operations.get_status_list(number=request.number))
