"""The public listener: JSON, gRPC and gRPC-Web on one port."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.compiler.envoy import authentication, tls
from services.compiler.envoy.clusters import listening
from services.compiler.envoy.connections import http_listener, public
from services.compiler.envoy.flood_guard import EVERYONE, REFLECTION, flood_guard, in_tier
from services.compiler.envoy.headers import (
    TRANSFER_CODING,
    compressors,
    cors,
    cors_policy,
    request_headers,
    response_headers,
    untrusted_headers,
)
from services.compiler.envoy.local_replies import CONTENT_TYPE_RULE, ENCODING_RULE, local_replies
from services.compiler.envoy.profiles import GATEWAY_HTTP, GATEWAY_REFLECTION
from services.compiler.envoy.request_headers import (
    any_messages,
    header_rules,
    message_rules,
    no_trailers,
    unknown_encoding,
)
from services.compiler.envoy.routes import by_path, rpc_route, seconds
from services.compiler.envoy.telemetry import access_log, tracing
from services.compiler.envoy.transcoding import (
    SMALL_REQUEST_BYTES,
    json_matches,
    large_requests,
    max_request_bytes,
    not_transcoded,
    server_sent_events,
    transcoder,
)
from services.compiler.envoy.typed import Json, extension, typed
from services.shared.limits import MAX_HEADERS
from services.shared.policy import INFRASTRUCTURE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import MethodDescriptor

    from services.compiler.contract import Contract
    from services.compiler.envoy.profiles import Profile
    from services.shared.policy import MethodPolicy

HEALTH_PAGE: Json = {"path": "/health"}
PAGES: tuple[Json, ...] = (HEALTH_PAGE, {"path": "/openapi.json"})
"""What the gateway's HTTP app serves to everyone."""
DEVELOPMENT_PAGES: tuple[Json, ...] = tuple(
    match for page in ("/docs", "/console") for match in ({"path": page}, {"prefix": f"{page}/"})
)
"""What it serves beside them in development: the API explorer and the console."""
MAX_READ_HEADERS_KIB = 96
MAX_READ_HEADERS = 4 * MAX_HEADERS
"""Size and number of headers that are still read, so as to be refused by a status: `header_rules` has the limits."""
REFLECTION_SECONDS = 15
"""Maximum time of one stream of reflection, as many as an address may begin in a quarter of its minute."""
EVENT_STREAM = "text/event-stream"
BUFFER = "envoy.filters.http.buffer"
BUFFER_MESSAGES = "envoy.extensions.filters.http.buffer.v3"
RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
CONTENT_TYPES = r"(?i)application/(json|grpc(-web)?(-text)?(\+proto|\+json)?)\s*(;.*)?"


def edge_listener(profile: Profile, contract: Contract) -> Json:
    """Return the public listener. Methods that are for services only do not exist on it."""
    listener = http_listener(
        "edge",
        listening(profile.public),
        _identity(profile) | _limits() | {"route_config": _routes(profile, contract)},
        _filters(profile, contract),
        transport_socket=tls.public_server(profile) if profile.public_certificate else None,
    )
    listener = public(listener)
    if profile.public_certificate and profile.plain_health:
        listener["filter_chains"].append(_plain_health())
    return listener


def _plain_health() -> Json:
    """Return the filter chain for the health check of Envoy's own container, which has no client that speaks TLS."""
    hosts = [{"name": "health", "domains": ["*"], "routes": [_page(HEALTH_PAGE)]}]
    manager = {"stat_prefix": "health", "route_config": {"name": "health", "virtual_hosts": hosts}}
    chain: Json = http_listener("health", {}, manager, ())["filter_chains"][0]
    network = {"address_prefix": "127.0.0.0", "prefix_len": 8}
    return chain | {"filter_chain_match": {"transport_protocol": "raw_buffer", "source_prefix_ranges": [network]}}


def _filters(profile: Profile, contract: Contract) -> list[Json]:
    """Return the filters in order. Those after the transcoder see every call as gRPC, whatever the client speaks.

    Bodies are held and read last: by then the call is counted, and has a token if it needs one.
    """
    return [
        cors(),
        _accepted_headers(contract),
        header_rules(),
        no_trailers(),
        extension("envoy.filters.http.grpc_web", "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"),
        *compressors(),
        transcoder(profile, _transcoded(contract)),
        flood_guard(profile),
        authentication.token_verifier(profile),
        authentication.api_key_rules(),
        _whole_requests(),
        message_rules(),
    ]


def _transcoded(contract: Contract) -> list[str]:
    return [service.full_name for service in contract.declared if _has_public_method(contract, service.full_name)]


def _limits() -> Json:
    """Return what a client may send, and how slowly."""
    return {
        "max_request_headers_kb": MAX_READ_HEADERS_KIB,
        "request_headers_timeout": "5s",
        "request_timeout": "30s",
        "stream_idle_timeout": "60s",
        "drain_timeout": "5s",
        "common_http_protocol_options": {
            "idle_timeout": "60s",
            "max_headers_count": MAX_READ_HEADERS,
            "headers_with_underscores_action": "REJECT_REQUEST",  # They become the same variable as those with dashes.
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 64,
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
        "tracing": tracing(profile, "edge"),
        "always_set_request_id_in_response": True,
        "local_reply_config": local_replies(),
        "access_log": access_log() if profile.log else [],
    }


def _routes(profile: Profile, contract: Contract) -> Json:
    return {
        "name": "edge",
        "request_headers_to_add": request_headers(),
        "request_headers_to_remove": [TRANSFER_CODING],
        "response_headers_to_add": response_headers(tls=profile.public_certificate is not None),
        "response_headers_to_remove": ["grpc-accept-encoding"],
        "virtual_hosts": [
            {
                "name": "edge",
                "domains": ["*"],
                "typed_per_filter_config": cors_policy(profile.cors_origins, localhost=profile.cors_localhost),
                **by_path(
                    _rpcs(profile, contract),
                    [
                        *map(_page, (*PAGES, *(DEVELOPMENT_PAGES if profile.reflection else ()))),
                        _no_such_rpc(),
                        *_large_json_requests(profile, contract),
                        *_server_sent_events(profile, contract),
                        _not_yet_transcoded(),
                    ],
                ),
            }
        ],
    }


def _rpcs(profile: Profile, contract: Contract) -> Iterator[Json]:
    policies = contract.policies
    for path, method in contract.methods.items():
        policy = policies[path]
        if _is_reflection(policy):
            if profile.reflection:
                yield _reflection(profile, policy)
        elif not policy.internal and not (policy.service_path in INFRASTRUCTURE and policy.server_streaming):
            yield _rpc(profile, policy, method)


def _rpc(profile: Profile, policy: MethodPolicy, method: MethodDescriptor) -> Json:
    """Return the route of an RPC of the contract, or of Health: without Watch, whose streams nobody bounds."""
    route = rpc_route(profile, policy)
    route["metadata"] = in_tier(policy.tier.name if policy.tier else EVERYONE)
    if policy.service_path in INFRASTRUCTURE:
        route["typed_per_filter_config"] = authentication.no_token()
        return route
    route["typed_per_filter_config"] = authentication.token_requirement(policy)
    if policy.interactive:
        route["typed_per_filter_config"] |= authentication.interactive_only()
    max_bytes = max_request_bytes(method)
    if max_bytes != SMALL_REQUEST_BYTES:
        large = typed(f"{BUFFER_MESSAGES}.BufferPerRoute", buffer={"max_request_bytes": max_bytes})
        route["typed_per_filter_config"] |= {BUFFER: large}
    return route


def _reflection(profile: Profile, policy: MethodPolicy) -> Json:
    """Return the route of a conversation: its requests never are complete. Clients begin another when it ends."""
    limit = seconds(REFLECTION_SECONDS)
    route = rpc_route(profile, policy)
    route["route"] |= {
        "cluster": GATEWAY_REFLECTION,
        "max_stream_duration": {"max_stream_duration": limit, "grpc_timeout_header_max": limit},
    }
    route["metadata"] = in_tier(REFLECTION)
    unbuffered = {BUFFER: typed(f"{BUFFER_MESSAGES}.BufferPerRoute", disabled=True)}
    route["typed_per_filter_config"] = unbuffered | any_messages() | authentication.no_token()
    return route


def _large_json_requests(profile: Profile, contract: Contract) -> Iterator[Json]:
    """Yield the routes that JSON requests have until they are transcoded, where they may be larger than most."""
    policies = contract.policies
    for path, method in contract.methods.items():
        if policies[path].internal or policies[path].service_path in INFRASTRUCTURE:
            continue
        if max_request_bytes(method) != SMALL_REQUEST_BYTES:
            for match in json_matches(method):
                config = large_requests(profile, _transcoded(contract))
                yield _not_yet_transcoded() | {"match": match, "typed_per_filter_config": config}


def _server_sent_events(profile: Profile, contract: Contract) -> Iterator[Json]:
    """Yield the routes of watches whose clients accept server-sent events; all other streams are NDJSON."""
    policies = contract.policies
    accepts = {"name": "accept", "string_match": {"contains": EVENT_STREAM, "ignore_case": True}}
    for path, method in contract.methods.items():
        if policies[path].watch and not policies[path].internal:
            for match in json_matches(method):
                match["headers"].append(accepts)
                config = server_sent_events(profile, _transcoded(contract))
                yield _not_yet_transcoded() | {"match": match, "typed_per_filter_config": config}


def _page(match: Json) -> Json:
    return {
        "match": match,
        "route": {"cluster": GATEWAY_HTTP, "timeout": "5s"},
        "metadata": in_tier(EVERYONE),
        "typed_per_filter_config": not_transcoded() | authentication.no_token(),
    }


def _accepted_headers(contract: Contract) -> Json:
    """Return the refusal of bodies that are not JSON's or gRPC's, and of compressions that gRPC does not read.

    The transcoder would take any text for JSON, and a browser sends text, forms, and bodies without a type to other
    sites without asking them first. Where a method declares its content types, the transcoder takes the body as it is,
    and bodies of other types are refused.
    """
    declared = list(_declared_content_types(contract))
    elsewhere = {"not_rule": {"or_rules": {"rules": [path for path, _ in declared]}}}
    other = _unaccepted(CONTENT_TYPES)
    bodies = [_both(elsewhere, other) if declared else other]
    bodies += [_both(path, _unaccepted(types)) for path, types in declared]
    rules = {CONTENT_TYPE_RULE: bodies, ENCODING_RULE: [unknown_encoding()]}
    policies = {
        name: {"permissions": permissions, "principals": [{"any": True}]} for name, permissions in rules.items()
    }
    return extension("envoy.filters.http.rbac", RBAC, rules={"action": "DENY", "policies": policies})


def _declared_content_types(contract: Contract) -> Iterator[tuple[Json, str]]:
    """Yield the path of each HTTP request whose body is no JSON, as a permission, and a pattern of its types."""
    policies = contract.policies
    for path, method in contract.methods.items():
        types = "|".join(re.escape(content_type) for content_type in policies[path].content_types)
        if types:
            for match in json_matches(method):
                yield {"url_path": {"path": {"safe_regex": match["safe_regex"]}}}, rf"(?i)({types})\s*(;.*)?"


def _unaccepted(content_types: str) -> Json:
    """Return the permission that matches bodies of no type, or of one that a pattern does not match."""
    other = {
        "name": "content-type",
        "string_match": {"safe_regex": {"regex": content_types}},
        "invert_match": True,
    }
    untyped = {"name": "content-type", "present_match": False}
    filled = {"name": "content-length", "string_match": {"safe_regex": {"regex": "0+"}}, "invert_match": True}
    coded = {"name": TRANSFER_CODING, "present_match": True}
    body = {"or_rules": {"rules": [{"header": filled}, {"header": coded}]}}
    return {"or_rules": {"rules": [{"header": other}, _both({"header": untyped}, body)]}}


def _both(one: Json, other: Json) -> Json:
    return {"and_rules": {"rules": [one, other]}}


def _whole_requests() -> Json:
    """Return the filter that lets a request go on when it is complete and not too large."""
    return extension(BUFFER, f"{BUFFER_MESSAGES}.Buffer", max_request_bytes=SMALL_REQUEST_BYTES)


def _no_such_rpc() -> Json:
    """Return the route of gRPC calls that no other route took, internal RPCs among them."""
    header = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    return {"match": {"prefix": "/", "headers": [header]}, "direct_response": {"status": 404}}


def _not_yet_transcoded() -> Json:
    """Return the route that JSON calls have until the transcoder has found their RPC, or refused them.

    It leads to the gateway, where nothing arrives: CORS would skip a direct response.
    """
    return {"match": {"prefix": "/"}, "route": {"cluster": GATEWAY_HTTP, "timeout": "5s"}}


def _is_reflection(policy: MethodPolicy) -> bool:
    return policy.service_path.startswith("grpc.reflection.")


def _has_public_method(contract: Contract, service: str) -> bool:
    return any(policy.service_path == service and not policy.internal for policy in contract.policies.values())
