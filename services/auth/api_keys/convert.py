"""Conversion between API keys and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import api_key_pb2
from azora.auth.v1 import api_key_service_pb2 as pb

from services.shared.convert import timestamp, to_time

if TYPE_CHECKING:
    from datetime import datetime

    from services.auth.api_keys.model import ApiKey, ExchangedApiKey, IssuedApiKey
    from services.shared.pagination import Page


def expire_time(request: pb.CreateApiKeyRequest) -> datetime | None:
    """Return when the key is to expire; None where the request leaves it open. Raises ValidationFailed."""
    return to_time(request.expire_time, field="expireTime") if request.HasField("expire_time") else None


def api_key(model: ApiKey) -> api_key_pb2.ApiKey:
    """Return the message of a key, without its text."""
    return api_key_pb2.ApiKey(
        id=model.id,
        name=model.name,
        prefix=model.prefix,
        scopes=model.scopes,
        create_time=timestamp(model.create_time),
        expire_time=timestamp(model.expire_time),
        last_use_time=timestamp(model.last_use_time),
    )


def create_api_key_response(issued: IssuedApiKey) -> pb.CreateApiKeyResponse:
    """Return the new key with its text."""
    return pb.CreateApiKeyResponse(api_key=api_key(issued.api_key), key=issued.key)


def list_api_keys_response(page: Page[ApiKey]) -> pb.ListApiKeysResponse:
    """Return a page of keys."""
    return pb.ListApiKeysResponse(
        api_keys=[api_key(model) for model in page.items], next_page_token=page.next_page_token
    )


def exchange_api_key_response(exchanged: ExchangedApiKey) -> pb.ExchangeApiKeyResponse:
    """Return the access token."""
    return pb.ExchangeApiKeyResponse(
        access_token=exchanged.access_token.text,
        expires_in=exchanged.access_token.expires_in_seconds,
        scopes=exchanged.scopes,
    )
