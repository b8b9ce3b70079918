"""What a person and a program do with API keys."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azora.auth.v1 import api_key_service_pb2 as pb
from azora.auth.v1 import api_key_service_pb2_grpc, token_service_pb2_grpc
from azora.auth.v1 import token_service_pb2 as tokens_pb
from azora.client import bearer
from google.api.httpbody_pb2 import HttpBody

from tests.support.auth import PASSWORD
from tests.support.serving import channel_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.support.auth import RunningAuth

READ_PROFILE = ("auth.read",)


@dataclass(frozen=True, slots=True)
class KeyClient:
    """Calls Auth with API keys and for them."""

    stub: api_key_service_pb2_grpc.ApiKeyServiceAsyncStub
    tokens: token_service_pb2_grpc.TokenServiceAsyncStub

    async def create(
        self, access_token: str, scopes: Sequence[str] = READ_PROFILE, **changes: Any
    ) -> pb.CreateApiKeyResponse:
        """Create a key; `changes` replace fields of the request."""
        values = {"name": "Nightly report", "scopes": scopes, "password": PASSWORD} | changes
        return await self.stub.CreateApiKey(pb.CreateApiKeyRequest(**values), metadata=bearer(access_token))

    async def list(self, access_token: str, **fields: Any) -> pb.ListApiKeysResponse:
        """List keys."""
        return await self.stub.ListApiKeys(pb.ListApiKeysRequest(**fields), metadata=bearer(access_token))

    async def revoke(self, access_token: str, api_key_id: str) -> None:
        """Revoke a key."""
        await self.stub.RevokeApiKey(pb.RevokeApiKeyRequest(api_key_id=api_key_id), metadata=bearer(access_token))

    async def exchange(self, key: str) -> pb.ExchangeApiKeyResponse:
        """Exchange a key."""
        return await self.stub.ExchangeApiKey(pb.ExchangeApiKeyRequest(key=key))

    async def introspect(self, access_token: str, token: str) -> tokens_pb.IntrospectTokenResponse:
        """Introspect a token."""
        request = tokens_pb.IntrospectTokenRequest(token=token)
        return await self.tokens.IntrospectToken(request, metadata=bearer(access_token))

    async def end(self, form: bytes) -> None:
        """Revoke a token by a form."""
        await self.tokens.Revoke(tokens_pb.RevokeRequest(body=HttpBody(data=form)))


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of an access token, unverified."""
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


@asynccontextmanager
async def key_client_of(auth: RunningAuth) -> AsyncIterator[KeyClient]:
    """Give a client of a running Auth."""
    async with channel_to(auth.target) as channel:
        yield KeyClient(
            api_key_service_pb2_grpc.ApiKeyServiceStub(channel), token_service_pb2_grpc.TokenServiceStub(channel)
        )
