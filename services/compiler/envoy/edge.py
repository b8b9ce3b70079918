"""The public listener: JSON, gRPC and gRPC-Web on one port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.envoy import authentication, tls
from services.compiler.envoy.clusters import listening
from services.compiler.envoy.connections import access_log, http_listener
from services.compiler.envoy.flood_guard import flood_guard, in_tier
from services.compiler.envoy.headers import (
    compressors,
    cors,
    cors_policy,
    request_headers,
    response_headers,
    untrusted_headers,
)
from services.compiler.envoy.local_replies import CONTENT_TYPE_RULE, local_replies
from services.compiler.envoy.profiles import GATEWAY_HTTP
from services.compiler.envoy.routes import rpc_route
from services.compiler.envoy.transcoding import MAX_REQUEST_BYTES, not_transcoded, transcoder
from services.compiler.envoy.typed import Json, extension, typed
from services.shared.policy import INFRASTRUCTURE

if TYPE_CHECKING:
    from services.compiler.contract import Contract
    from services.compiler.envoy.profiles import Profile
    from services.shared.policy import MethodPolicy

PAGES = ("/health",)
"""What the gateway's HTTP app serves to everyone."""
BUFFER = "envoy.filters.http.buffer"
BUFFER_MESSAGES = "envoy.extensions.filters.http.buffer.v3"
CONTENT_TYPES = r"(?i)application/(json|grpc(-web)?(-text)?(\+proto|\+json)?)\s*(;.*)?"


def edge_listener(profile: Profile, contract: Contract) -> Json:
    """Return the public listener. Methods that are for services only do not exist on it."""
    return http_listener(
        "edge",
        listening(profile.public),
        _identity(profile) | _limits() | {"route_config": _routes(profile, contract)},
        _filters(profile, contract),
        transport_socket=tls.public_server(profile.public_certificate) if profile.public_certificate else None,
    )


def _filters(profile: Profile, contract: Contract) -> list[Json]:
    """Return the filters in order. Those after the transcoder see every call as gRPC, whatever the client speaks."""
    transcoded = [service.full_name for service in contract.declared if _has_public_method(contract, service.full_name)]
    return [
        cors(),
        _accepted_content_types(),
        extension("envoy.filters.http.grpc_web", "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"),
        _whole_requests(),
        *compressors(),
        transcoder(profile, transcoded),
        flood_guard(profile.rate_limit_scale),
        authentication.token_verifier(profile),
    ]


def _limits() -> Json:
    """Return what a client may send, and how slowly."""
    return {
        "max_request_headers_kb": 16,
        "request_headers_timeout": "5s",
        "request_timeout": "30s",
        "stream_idle_timeout": "60s",
        "drain_timeout": "5s",
        "common_http_protocol_options": {
            "idle_timeout": "300s",
            "max_headers_count": 64,
            "headers_with_underscores_action": "REJECT_REQUEST",  # They become the same variable as those with dashes.
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 128,
            "initial_stream_window_size": 64 * 1024,
            "initial_connection_window_size": 1024 * 1024,
            "connection_keepalive": {"interval": "30s", "timeout": "5s"},
        },
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "strip_any_host_port": True,
    }


def _identity(profile: Profile) -> Json:
    """Return what names the request and who sent it: never taken from the client."""
    return {
        "stat_prefix": "edge",
        "server_name": "azora",
        "use_remote_address": True,
        "xff_num_trusted_hops": profile.trusted_proxies,
        "early_header_mutation_extensions": [untrusted_headers()],
        "generate_request_id": True,
        "always_set_request_id_in_response": True,
        "local_reply_config": local_replies(),
        "access_log": access_log() if profile.log else [],
    }


def _routes(profile: Profile, contract: Contract) -> Json:
    return {
        "name": "edge",
        "request_headers_to_add": request_headers(),
        "response_headers_to_add": response_headers(tls=profile.public_certificate is not None),
        "response_headers_to_remove": ["grpc-accept-encoding"],
        "virtual_hosts": [
            {
                "name": "edge",
                "domains": ["*"],
                "typed_per_filter_config": cors_policy(profile.cors_origins),
                "routes": [
                    *(_page(path) for path in PAGES),
                    *(_rpc(policy) for policy in contract.policies().values() if _served(profile, policy)),
                    _no_such_rpc(),
                    _not_yet_transcoded(),
                ],
            }
        ],
    }


def _rpc(policy: MethodPolicy) -> Json:
    route = rpc_route(policy)
    route["metadata"] = in_tier(policy.tier)
    if policy.service_path in INFRASTRUCTURE:  # Reflection is a conversation: its requests never are complete.
        unbuffered = {BUFFER: typed(f"{BUFFER_MESSAGES}.BufferPerRoute", disabled=True)}
        route["typed_per_filter_config"] = unbuffered | authentication.no_token()
    else:
        route["typed_per_filter_config"] = authentication.token_requirement(policy)
    return route


def _page(path: str) -> Json:
    return {
        "match": {"path": path},
        "route": {"cluster": GATEWAY_HTTP, "timeout": "5s"},
        "metadata": in_tier(None),
        "typed_per_filter_config": not_transcoded() | authentication.no_token(),
    }


def _accepted_content_types() -> Json:
    """Return the refusal of bodies that are not JSON's or gRPC's: the transcoder would take any text for JSON.

    A browser sends text and forms to other sites without asking them first.
    """
    header = {
        "name": "content-type",
        "string_match": {"safe_regex": {"regex": CONTENT_TYPES}},
        "invert_match": True,
    }
    rule = {"permissions": [{"header": header}], "principals": [{"any": True}]}
    return extension(
        "envoy.filters.http.rbac",
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        rules={"action": "DENY", "policies": {CONTENT_TYPE_RULE: rule}},
    )


def _whole_requests() -> Json:
    """Return the filter that lets a request go on when it is complete and not too large."""
    return extension(BUFFER, f"{BUFFER_MESSAGES}.Buffer", max_request_bytes=MAX_REQUEST_BYTES)


def _no_such_rpc() -> Json:
    """Return the route of gRPC calls that no other route took, internal RPCs among them."""
    header = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    return {"match": {"prefix": "/", "headers": [header]}, "direct_response": {"status": 404}}


def _not_yet_transcoded() -> Json:
    """Return the route that JSON calls have until the transcoder has found their RPC, or refused them.

    It leads to the gateway, where nothing arrives: CORS would skip a direct response.
    """
    return {"match": {"prefix": "/"}, "route": {"cluster": GATEWAY_HTTP, "timeout": "5s"}}


def _served(profile: Profile, policy: MethodPolicy) -> bool:
    if policy.service_path.startswith("grpc.reflection."):
        return profile.reflection
    return not policy.internal


def _has_public_method(contract: Contract, service: str) -> bool:
    return any(policy.service_path == service and not policy.internal for policy in contract.policies().values())
