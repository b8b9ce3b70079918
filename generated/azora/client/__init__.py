"""Channels to Azora for the typed stubs: timeouts, retries and idempotency keys of the contract, and typed errors.

from azora import client
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc

async with client.connect("localhost:8080") as channel:
    auth = auth_service_pb2_grpc.AuthServiceStub(channel)
    session = await auth.Login(auth_service_pb2.LoginRequest(email="...", password="..."))
    metadata = client.bearer(session.access_token)
    try:
        profile = await auth.GetProfile(auth_service_pb2.GetProfileRequest(), metadata=metadata)
    except client.CallError as error:
        print(error.code(), error.reason, error.metadata)

`azora.client.blocking` has the same names for blocking stubs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import token_service_pb2, token_service_pb2_grpc
from azora.client._calls import AsyncCalls, AsyncStreams
from azora.client._dialing import MeshIdentity, address, channel_options, credential_files, read_credentials
from azora.client._errors import CallError, Violation, error_info, error_reason
from azora.client._renewal import RenewingChannel
from azora.client._scope import Metadata, scope, serving
from google.protobuf.json_format import MessageToDict
from grpc import aio

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import grpc

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
    interceptors: Sequence[aio.ClientInterceptor] = (),
) -> aio.Channel:
    """Return a channel for asynchronous stubs.

    A call ends by its own timeout or, if that is less, by the one that its contract declares. It is retried while the
    server is unavailable if it has no side effects or takes an idempotency key; it is given a key if it has none, in
    `request_id` or as the metadata `idempotency-key`. A failed call raises CallError.

    target: "localhost:8080", "dns:///azora.example.com:443", "unix:/run/azora/mesh.sock", or a list of IP addresses or
        unix sockets. Calls take turns over all addresses of a name or list.
    tls: Whether the port has TLS, verified by the public authorities that grpc comes with.
    authority: File (PEM) of the authorities to trust instead. Implies TLS.
    identity: A service's certificate, for the mesh. Its files are read again when they are renewed, those of
        `authority`, too. Implies TLS.
    server_name: Name in the server's certificate if it is not that of `target`.
    proxy: Whether to obey the environment's http_proxy and its kin, which grpc does even for the loopback interface.
    retries: Whether to retry at all. Envoy does so itself for calls within the mesh.
    interceptors: See each call once, with its key; one that retries sends the same key again.

    Raises ValueError for a list of DNS names, OSError for files that are missing, broken, or do not belong together.
    """
    where, inner = address(target), [AsyncCalls(), AsyncStreams(), *interceptors]
    options = channel_options(where, server_name=server_name, identity=identity, proxy=proxy, retries=retries)

    def dial(credentials: grpc.ChannelCredentials) -> aio.Channel:
        return aio.secure_channel(where, credentials, options, interceptors=inner)

    paths = credential_files(authority, identity)
    if paths:
        return RenewingChannel(paths, dial)
    if tls:
        return dial(read_credentials(()))
    return aio.insecure_channel(where, options, interceptors=inner)


async def signing_keys(channel: aio.Channel) -> list[dict[str, str]]:
    """Return the public keys of access tokens as JWKs (RFC 7517), for services that verify tokens by themselves."""
    response = await token_service_pb2_grpc.TokenServiceStub(channel).GetJwks(token_service_pb2.GetJwksRequest())
    return [MessageToDict(key) for key in response.keys]


def bearer(access_token: str) -> Metadata:
    """Return the metadata that signs a call in."""
    return (("authorization", f"Bearer {access_token}"),)
