"""Channels to Azora that know every method's timeout and retry policy, for use with the typed stubs.

from azora import client
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc

async with client.connect("localhost:8080") as channel:
    auth = auth_service_pb2_grpc.AuthServiceStub(channel)
    session = await auth.Login(auth_service_pb2.LoginRequest(email="...", password="..."))
    metadata = client.bearer(session.access_token)
    profile = await auth.GetProfile(auth_service_pb2.GetProfileRequest(), metadata=metadata)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, TypeAlias

import grpc
from azora.auth.v1 import token_service_pb2, token_service_pb2_grpc
from azora.client._keys import AsyncKeys, BlockingKeys, keyed_methods
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Metadata: TypeAlias = tuple[tuple[str, str], ...]
"""Headers of a call."""

KEEPALIVE_MILLISECONDS = 30_000
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
STATUS_DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class MeshIdentity:
    """A service's identity on the mesh: files (PEM) of its certificate, its key, and the mesh's authority."""

    certificate: Path
    key: Path
    authority: Path


def connect(
    target: str,
    *,
    identity: MeshIdentity | None = None,
    tls: bool = False,
    interceptors: Sequence[aio.ClientInterceptor] = (),
) -> aio.Channel:
    """Return a channel to `target` ("localhost:8080", "unix:/run/azora/mesh.sock").

    Without a deadline of its own a call ends by the timeout that its contract declares. Reads are retried while the
    server is UNAVAILABLE, and so are methods that take an idempotency key: a call that has none, in `request_id` or as
    the metadata `idempotency-key`, is given one. `identity` is for services of the mesh; `tls` for a public port with
    TLS, verified by the system's authorities; `interceptors` see a call with its key, so that one that
    retries sends the same key again.
    """
    options, credentials = _options(), _credentials(tls=tls)
    inner = [AsyncKeys(), *interceptors]
    if identity is not None:
        credentials = grpc.ssl_channel_credentials(
            identity.authority.read_bytes(), identity.key.read_bytes(), identity.certificate.read_bytes()
        )
        # Certificates name identities (SPIFFE), not addresses; Envoy's also carries this DNS name.
        options.append(("grpc.ssl_target_name_override", "envoy"))
    if credentials is None:
        return aio.insecure_channel(target, options=options, interceptors=inner)
    return aio.secure_channel(target, credentials, options=options, interceptors=inner)


def connect_blocking(target: str, *, tls: bool = False) -> grpc.Channel:
    """Return a channel for blocking stubs, which does what `connect`'s does."""
    options, credentials = _options(), _credentials(tls=tls)
    if credentials is None:
        return grpc.intercept_channel(grpc.insecure_channel(target, options), BlockingKeys())
    return grpc.intercept_channel(grpc.secure_channel(target, credentials, options), BlockingKeys())


async def signing_keys(channel: aio.Channel) -> list[dict[str, str]]:
    """Return the public keys of access tokens as JWKs (RFC 7517), for services that verify tokens by themselves."""
    response = await token_service_pb2_grpc.TokenServiceStub(channel).GetJwks(token_service_pb2.GetJwksRequest())
    return [MessageToDict(key) for key in response.keys]


def bearer(access_token: str) -> Metadata:
    """Return the metadata that signs a call in."""
    return (("authorization", f"Bearer {access_token}"),)


def error_reason(error: aio.AioRpcError) -> str:
    """Return the ErrorInfo.reason of a failed call, or an empty string: what error_reason.proto lists."""
    reason: str = error_info(error).reason
    return reason


def error_info(error: aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """Return the ErrorInfo of a failed call: its reason, and its metadata; an empty one where the answer has none."""
    info = error_details_pb2.ErrorInfo()
    details = dict(error.trailing_metadata() or ()).get(STATUS_DETAILS)
    if isinstance(details, bytes):
        try:
            status = status_pb2.Status.FromString(details)
            next((detail for detail in status.details if detail.Unpack(info)), None)
        except DecodeError:
            info.Clear()
    return info


def _options() -> list[tuple[str, str | int]]:
    return [
        ("grpc.service_config", _service_config()),
        ("grpc.enable_retries", 1),
        ("grpc.keepalive_time_ms", KEEPALIVE_MILLISECONDS),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ]


def _credentials(*, tls: bool) -> grpc.ChannelCredentials | None:
    return grpc.ssl_channel_credentials() if tls else None


@cache
def _service_config() -> str:
    """Return the compiled service config, with retries of keyed methods: these channels see to their keys."""
    config = json.loads(files("azora").joinpath("service_config.json").read_text())
    policy = next(method["retryPolicy"] for method in config["methodConfig"] if "retryPolicy" in method)
    for method in config["methodConfig"]:
        if any(f"/{name['service']}/{name['method']}" in keyed_methods() for name in method["name"]):
            method["retryPolicy"] = policy
    return json.dumps(config)
