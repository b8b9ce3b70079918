"""Trace context and spans of Envoy, and its access log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.contract import LISTENER_TAG
from services.compiler.envoy.typed import Json, extension

if TYPE_CHECKING:
    from services.compiler.envoy.profiles import Profile

OTLP = "otlp"
"""The cluster of the OpenTelemetry collector."""
SERVICE_NAME = "envoy"


def tracing(profile: Profile, listener: str) -> Json:
    """Return a listener's `tracing`: every call has a W3C trace context, its client's or a new one.

    A span has the listener's name, by which a request through the public port is told from calls between services.

    Without an OTLP endpoint the collector's cluster is empty and no trace is sampled, whatever its client says.
    """
    percent = 100 * profile.trace_sample_ratio if profile.otlp else 0
    return {
        "provider": extension(
            "envoy.tracers.opentelemetry",
            "envoy.config.trace.v3.OpenTelemetryConfig",
            service_name=SERVICE_NAME,
            grpc_service={"envoy_grpc": {"cluster_name": OTLP}, "timeout": "1s"},
        ),
        "random_sampling": {"value": percent},
        "spawn_upstream_span": False,
        # In place of Envoy's own, which have the query, where a client may send a password or token, the method of the
        # transcoded request, and headers as the client sent them: a collector rejects all spans of a request with one
        # that is no UTF-8.
        "custom_tags": [
            {"tag": "grpc.path", "value": "%PATH(NQ:PATH):256%"},
            {"tag": "grpc.content_type", "value": "application/grpc"},
            {"tag": "user_agent", "value": "-"},
            {"tag": "http.url", "value": "%REQ(:SCHEME)%://%REQ(:AUTHORITY)%%PATH(NQ:ORIG_OR_PATH):256%"},
            {"tag": "http.method", "value": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%"},
            {"tag": LISTENER_TAG, "value": listener},
        ],
    }


def access_log() -> list[Json]:
    """Return a log of one JSON line per request, on standard output.

    Queries are left out: they may hold anything. Paths are cut: a client chooses how long they are.
    """
    return [
        extension(
            "envoy.access_loggers.stdout",
            "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            log_format={
                "json_format": {
                    "time": "%START_TIME%",
                    "service": SERVICE_NAME,
                    "message": "request",
                    "method": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%",
                    "path": "%PATH(NQ:ORIG):256%",
                    "rpc": "%PATH(NQ:PATH):256%",
                    "status": "%RESPONSE_CODE%",
                    "grpc_status": "%GRPC_STATUS(SNAKE_STRING)%",
                    "duration_ms": "%DURATION%",
                    "flags": "%RESPONSE_FLAGS%",
                    "details": "%RESPONSE_CODE_DETAILS%",
                    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
                    "upstream": "%UPSTREAM_HOST%",
                    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
                    "request_id": "%REQ(X-REQUEST-ID)%",
                    "trace_id": "%TRACE_ID%",
                },
                "omit_empty_values": True,
            },
        )
    ]
