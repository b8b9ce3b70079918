"""`azora.client` for blocking stubs.

from azora.client import blocking as client

with client.connect("localhost:8080") as channel:
    ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from azora.auth.v1 import token_service_pb2, token_service_pb2_grpc
from azora.client import CallError, MeshIdentity, Metadata, Violation, bearer, error_info, error_reason, scope, serving
from azora.client._calls import BlockingCalls
from azora.client._dialing import address, channel_options, credential_files, read_credentials
from azora.client._renewal import RenewingBlockingChannel
from google.protobuf.json_format import MessageToDict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "CallError",
    "MeshIdentity",
    "Metadata",
    "Violation",
    "bearer",
    "connect",
    "error_info",
    "error_reason",
    "scope",
    "serving",
    "signing_keys",
]


def connect(
    target: str | Sequence[str],
    *,
    tls: bool = False,
    authority: Path | None = None,
    identity: MeshIdentity | None = None,
    server_name: str = "",
    proxy: bool = False,
    retries: bool = True,
    interceptors: Sequence[grpc.UnaryUnaryClientInterceptor | grpc.UnaryStreamClientInterceptor] = (),
) -> grpc.Channel:
    """Return a channel for blocking stubs, which is all that `azora.client.connect` makes of an asynchronous one."""
    where = address(target)
    options = channel_options(where, server_name=server_name, identity=identity, proxy=proxy, retries=retries)

    def intercepted(channel: grpc.Channel) -> grpc.Channel:
        return grpc.intercept_channel(channel, BlockingCalls(), *interceptors)

    def dial(credentials: grpc.ChannelCredentials) -> grpc.Channel:
        return intercepted(grpc.secure_channel(where, credentials, options))

    paths = credential_files(authority, identity)
    if paths:
        return RenewingBlockingChannel(paths, dial)
    return dial(read_credentials(())) if tls else intercepted(grpc.insecure_channel(where, options))


def signing_keys(channel: grpc.Channel) -> list[dict[str, str]]:
    """Return the public keys of access tokens as JWKs (RFC 7517), for services that verify tokens by themselves."""
    response = token_service_pb2_grpc.TokenServiceStub(channel).GetJwks(token_service_pb2.GetJwksRequest())
    return [MessageToDict(key) for key in response.keys]
