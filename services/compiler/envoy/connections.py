"""Listeners of HTTP: what all have in common, and how many connections there may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.envoy.routes import seconds
from services.compiler.envoy.typed import Json, extension
from services.shared.limits import FIRST_BYTES_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

BUFFER_BYTES = 64 * 1024
MAX_SOCKETS = 8000
"""Maximum number of accepted sockets of the public port, those that have sent nothing yet included."""
MAX_CONNECTIONS = 4000
"""Maximum number of HTTP connections of the public port: sockets that have sent something."""
FIRST_BYTES = seconds(FIRST_BYTES_SECONDS)
"""Maximum time until a new connection has sent the first line of a request, or has ended its TLS handshake."""


def http_listener(
    name: str, at: Json, manager: Json, filters: Sequence[Json], *, transport_socket: Json | None = None
) -> Json:
    """Return a listener with the fields of its HttpConnectionManager, and its filters before the router.

    It is outside the limits of the public port, and serves on when those are reached: see `public`. Whoever has no
    certificate does not keep a connection either.
    """
    router = extension(
        "envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", suppress_envoy_headers=True
    )
    connection_manager = extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        **manager,
        http_filters=[*filters, router],
    )
    chain: Json = {"filters": [connection_manager]}
    if transport_socket is not None:
        chain |= {"transport_socket": transport_socket, "transport_socket_connect_timeout": FIRST_BYTES}
    return {
        "name": name,
        "address": at,
        "enable_reuse_port": False,  # Or a second Envoy shares the port in silence, and takes half of the calls.
        "connection_balance_config": {"exact_balance": {}},  # Or nearly all of a client's connections are one worker's.
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "ignore_global_conn_limit": True,
        "bypass_overload_manager": True,
        "filter_chains": [chain],
    }


def public(listener: Json) -> Json:
    """Return a listener within the limits of connections and memory.

    A socket that has sent nothing is held by the inspector, which ends it after `FIRST_BYTES`: it costs a descriptor
    and takes none of the HTTP connections, which are for clients that have sent something.
    """
    (chain,) = listener["filter_chains"]
    inspector = "tls" if "transport_socket" in chain else "http"
    limit = extension(
        "envoy.filters.network.connection_limit",
        "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
        stat_prefix=listener["name"],
        max_connections=MAX_CONNECTIONS,
    )
    limited = chain | {"filters": [limit, *chain["filters"]]}
    return listener | {
        "traffic_direction": "INBOUND",  # What is drained before Envoy stops.
        "ignore_global_conn_limit": False,
        "bypass_overload_manager": False,
        "listener_filters": [
            extension(
                f"envoy.filters.listener.{inspector}_inspector",
                f"envoy.extensions.filters.listener.{inspector}_inspector.v3.{inspector.capitalize()}Inspector",
            )
        ],
        "listener_filters_timeout": FIRST_BYTES,
        "filter_chains": [limited],
    }
