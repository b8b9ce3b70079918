"""How channels connect: address, options, credentials, and the service config that is compiled from the contract."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, TypeAlias

import grpc
from azora.client._keys import keyed_methods
from azora.client.certificates import read_pem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEEPALIVE_MILLISECONDS = 30_000
KEEPALIVE_TIMEOUT_MILLISECONDS = 10_000
CONNECT_MILLISECONDS = 5_000
MIN_BACKOFF_MILLISECONDS = 100
MAX_BACKOFF_MILLISECONDS = 1_000
"""Bound of the delay between two attempts to connect, which grpc varies by a fifth. grpc's own is two minutes."""
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MESH_NAME = "envoy"
"""Certificates of the mesh name identities (SPIFFE), not addresses; Envoy's also has this DNS name."""
LISTS = ("unix", "ipv4", "ipv6")

Options: TypeAlias = list[tuple[str, str | int]]


@dataclass(frozen=True, slots=True)
class MeshIdentity:
    """A service's identity on the mesh: files (PEM) of its certificate, its key, and the mesh's authority."""

    certificate: Path
    key: Path
    authority: Path


def address(target: str | Sequence[str]) -> str:
    """Return a target as grpc has it. Raises ValueError for a list of anything but IP addresses or unix sockets."""
    if isinstance(target, str):
        return target
    schemes, addresses = zip(*map(_split, target), strict=True) if target else ((), ())
    if len(set(schemes)) != 1 or schemes[0] not in LISTS:
        raise ValueError("a list of targets holds IP addresses or unix sockets; a DNS name is a target by itself")
    return f"{schemes[0]}:{','.join(addresses)}"


def channel_options(
    target: str, *, server_name: str, identity: MeshIdentity | None, proxy: bool, retries: bool
) -> Options:
    """Return the options of a channel to a target as grpc has it."""
    name = server_name or (MESH_NAME if identity else "")
    options: Options = [
        ("grpc.service_config", _service_config(retries=retries)),
        ("grpc.enable_http_proxy", int(proxy)),
        ("grpc.keepalive_time_ms", KEEPALIVE_MILLISECONDS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MILLISECONDS),
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MILLISECONDS),  # A minute otherwise, whatever the line above.
        ("grpc.initial_reconnect_backoff_ms", MIN_BACKOFF_MILLISECONDS),
        ("grpc.min_reconnect_backoff_ms", CONNECT_MILLISECONDS),  # Of one attempt, whatever its name says.
        ("grpc.max_reconnect_backoff_ms", MAX_BACKOFF_MILLISECONDS),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ]
    if name:
        options.append(("grpc.ssl_target_name_override", name))
    elif "," in target:  # Of a list grpc would name all addresses as the host, which is none.
        options.append(("grpc.default_authority", target.partition(":")[2].partition(",")[0]))
    return options


def credential_files(authority: Path | None, identity: MeshIdentity | None) -> tuple[Path, ...]:
    """Return the files that credentials are read from: none, an authority, or an authority, a key and a certificate."""
    if identity is not None:
        return identity.authority, identity.key, identity.certificate
    return () if authority is None else (authority,)


def read_credentials(paths: Sequence[Path]) -> grpc.ChannelCredentials:
    """Return the credentials of these files; without any, those that trust grpc's own list of public authorities.

    Raises OSError as `read_pem`.
    """
    return grpc.ssl_channel_credentials(*(read_pem(paths) if paths else ()))


def _split(target: str) -> tuple[str, str]:
    """Return scheme and rest of a target: of "10.0.0.1:8080" it is ipv4, of "[::1]:8080" ipv6."""
    scheme, _, rest = target.partition(":")
    if scheme in LISTS:
        return scheme, rest
    if target.startswith("["):
        return "ipv6", target
    return "ipv4" if scheme.replace(".", "").isdigit() else "dns", target


@cache
def _service_config(*, retries: bool) -> str:
    """Return the compiled service config with all addresses taken in turn.

    Keyed methods are retried like those without side effects: these channels see to their keys.
    """
    config = json.loads(files("azora").joinpath("service_config.json").read_text())
    policies = [method.pop("retryPolicy", None) for method in config["methodConfig"]]
    policy = next(filter(None, policies))
    for method, own in zip(config["methodConfig"], policies, strict=True):
        keyed = any(f"/{name['service']}/{name['method']}" in keyed_methods() for name in method["name"])
        if retries and (own or keyed):
            method["retryPolicy"] = own or policy
    return json.dumps(config | {"loadBalancingConfig": [{"round_robin": {}}]})
