"""Headers at the public listener: what is believed, what is added, and what other origins may see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.envoy.request_headers import removals
from services.compiler.envoy.typed import Json, extension, typed

if TYPE_CHECKING:
    from collections.abc import Sequence

# Who is calling, and what only Envoy says: clients that send these would be believed further in.
UNTRUSTED = ("x-forwarded-client-cert", "x-request-id")
# What Envoy copies into its spans as it is, and may be no UTF-8 (`telemetry.tracing`). Traces go on without.
UNREADABLE = ("x-client-trace-id", "tracestate")
TRANSFER_CODING = "x-azora-transfer-encoding"
"""Tells the edge's filters of a chunked body: Envoy removes the header Transfer-Encoding before them."""
UNTRUSTED_PREFIXES = ("x-auth-", "x-envoy-")
CORS_METHODS = "GET, POST, PUT, PATCH, DELETE"
CORS_REQUEST_HEADERS = (
    "authorization, content-type, idempotency-key, x-grpc-web, x-user-agent, grpc-timeout, traceparent"
)
CORS_RESPONSE_HEADERS = (
    "grpc-status, grpc-message, grpc-status-details-bin, x-request-id, retry-after, idempotent-replayed, "
    "ratelimit-limit, ratelimit-policy, ratelimit-remaining, ratelimit-reset"
)
LOCALHOST_ORIGINS = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?"
CORS_FILTER = "envoy.filters.http.cors"
COMPRESSED_FROM_BYTES = 860
ALWAYS = "OVERWRITE_IF_EXISTS_OR_ADD"
UNLESS_SET = "ADD_IF_ABSENT"


def untrusted_headers() -> Json:
    """Return the removal of headers that clients may not send, before anything reads them."""
    return extension(
        "envoy.http.early_header_mutation.header_mutation",
        "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[
            *({"remove": name} for name in (*UNTRUSTED, *UNREADABLE)),
            *({"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in UNTRUSTED_PREFIXES),
            *removals(),
            {"append": _header(TRANSFER_CODING, "%REQ(TRANSFER-ENCODING)%", ALWAYS)},
        ],
    )


def request_headers() -> list[Json]:
    """Return what is set for the services: the client's address as Envoy found it, in place of what was claimed.

    gRPC's core resets calls without `te: trailers`, which Envoy would take for a failure of the service, and repeat.
    """
    return [
        _header("x-forwarded-for", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", ALWAYS),
        _header("te", "trailers", ALWAYS),
    ]


def response_headers(*, tls: bool) -> list[Json]:
    """Return the security headers of every answer; a page may bring a content security policy of its own."""
    added = [
        _header("x-content-type-options", "nosniff", ALWAYS),
        _header("referrer-policy", "no-referrer", ALWAYS),
        _header("content-security-policy", "default-src 'none'; frame-ancestors 'none'", UNLESS_SET),
        _header("cache-control", "no-store", UNLESS_SET),
    ]
    if tls:
        added.append(_header("strict-transport-security", "max-age=31536000; includeSubDomains", ALWAYS))
    return added


def cors() -> Json:
    """Return the filter; it stands first, so that refusals by the others reach the page that asked."""
    return extension(CORS_FILTER, "envoy.extensions.filters.http.cors.v3.Cors")


def cors_policy(origins: Sequence[str], *, localhost: bool) -> Json:
    """Return who may call from a browser: the origins listed, in development those of this machine, nobody else."""
    allowed: list[Json] = [{"exact": origin} for origin in origins]
    if localhost:
        allowed.append({"safe_regex": {"regex": LOCALHOST_ORIGINS}})
    return {
        CORS_FILTER: typed(
            "envoy.extensions.filters.http.cors.v3.CorsPolicy",
            allow_origin_string_match=allowed,
            allow_methods=CORS_METHODS,
            allow_headers=CORS_REQUEST_HEADERS,
            expose_headers=CORS_RESPONSE_HEADERS,
            max_age="600",
            forward_not_matching_preflights=False,
        )
    }


def compressors() -> list[Json]:
    """Return compression for clients that ask for it. gRPC compresses its own messages."""
    return [_compressor(algorithm) for algorithm in ("brotli", "gzip")]


def _compressor(algorithm: str) -> Json:
    message = f"envoy.extensions.compression.{algorithm}.compressor.v3.{algorithm.capitalize()}"
    return extension(
        "envoy.filters.http.compressor",
        "envoy.extensions.filters.http.compressor.v3.Compressor",
        compressor_library=extension(algorithm, message),
        response_direction_config={"common_config": {"min_content_length": COMPRESSED_FROM_BYTES}},
    )


def _header(name: str, value: str, action: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": action}
