"""Listeners of HTTP: what both have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.envoy.typed import Json, extension

if TYPE_CHECKING:
    from collections.abc import Sequence

BUFFER_BYTES = 64 * 1024


def http_listener(
    name: str, at: Json, manager: Json, filters: Sequence[Json], *, transport_socket: Json | None = None
) -> Json:
    """Return a listener with the fields of its HttpConnectionManager, and its filters before the router."""
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
        chain["transport_socket"] = transport_socket
    return {
        "name": name,
        "address": at,
        "enable_reuse_port": False,  # Or a second Envoy shares the port in silence, and takes half of the calls.
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "filter_chains": [chain],
    }


def access_log() -> list[Json]:
    """Return a log of one JSON line per request, on standard output. Queries are left out: they may hold anything."""
    return [
        extension(
            "envoy.access_loggers.stdout",
            "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            log_format={
                "json_format": {
                    "time": "%START_TIME%",
                    "service": "envoy",
                    "message": "request",
                    "method": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%",
                    "path": "%PATH(NQ:ORIG)%",
                    "rpc": "%PATH(NQ:PATH)%",
                    "status": "%RESPONSE_CODE%",
                    "grpc_status": "%GRPC_STATUS(SNAKE_STRING)%",
                    "duration_ms": "%DURATION%",
                    "flags": "%RESPONSE_FLAGS%",
                    "details": "%RESPONSE_CODE_DETAILS%",
                    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
                    "upstream": "%UPSTREAM_HOST%",
                    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
                    "request_id": "%REQ(X-REQUEST-ID)%",
                },
                "omit_empty_values": True,
            },
        )
    ]
