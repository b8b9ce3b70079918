"""The internal listener: calls between services, each caller known by its certificate."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from services.compiler.contract import CHECKED_SERVICE, GATEWAY, HEALTH_CHECK
from services.compiler.envoy import tls
from services.compiler.envoy.clusters import listening
from services.compiler.envoy.connections import http_listener
from services.compiler.envoy.local_replies import local_replies
from services.compiler.envoy.routes import between_services, by_path, rpc_route
from services.compiler.envoy.telemetry import access_log, tracing
from services.compiler.envoy.typed import Json, extension
from services.shared.limits import MAX_HEADERS_KIB
from services.shared.policy import INFRASTRUCTURE
from services.shared.principal import TRUST_DOMAIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.compiler.contract import Contract
    from services.compiler.envoy.profiles import Profile
    from services.shared.policy import MethodPolicy

ANY_SERVICE = "any"


def mesh_listener(profile: Profile, contract: Contract) -> Json:
    """Return the internal listener: mutual TLS, and every call checked against its method's policy."""
    policies = [policy for policy in contract.policies.values() if policy.service_path not in INFRASTRUCTURE]
    health = contract.policies[HEALTH_CHECK]
    routes = [rpc_route(profile, policy, mesh=True) for policy in policies]
    routes += [_health_of(profile, name, health) for name in (*contract.owners, GATEWAY)]
    manager = {
        "stat_prefix": "mesh",
        "codec_type": "HTTP2",
        # The caller's identity is what its certificate says, whatever it claims.
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"uri": True},
        "generate_request_id": True,
        "preserve_external_request_id": True,  # A call made on behalf of another keeps that one's id.
        "request_headers_timeout": "5s",
        "drain_timeout": "5s",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "5s"}},
        "max_request_headers_kb": MAX_HEADERS_KIB,
        "tracing": tracing(profile, "mesh"),
        "local_reply_config": local_replies(),
        "access_log": access_log() if profile.log else [],
        "route_config": {
            "name": "mesh",
            "virtual_hosts": [{"name": "mesh", "domains": ["*"], **by_path(routes)}],
        },
    }
    return http_listener(
        "mesh",
        listening(profile.mesh),
        manager,
        [_callers(policies)],
        transport_socket=tls.mesh_server(profile),
    )


def _health_of(profile: Profile, service: str, check: MethodPolicy) -> Json:
    """Return the route on which the gateway asks for a service's health: as others reach it, or UNAVAILABLE."""
    header = {"name": CHECKED_SERVICE, "string_match": {"exact": service}}
    route = rpc_route(profile, check)
    route["match"]["headers"] = [header]
    route["route"]["cluster"] = service if service == GATEWAY else between_services(service)
    return route


def _callers(policies: Iterable[MethodPolicy]) -> Json:
    """Return the filter that knows who may call what; whatever no rule allows is refused."""
    paths: dict[str, list[str]] = defaultdict(list)
    for policy in policies:
        for caller in callers(policy):
            paths[caller].append(policy.path)
    paths[GATEWAY].append(HEALTH_CHECK)
    rules = {
        caller: {
            "permissions": [{"url_path": {"path": {"exact": path}}} for path in called],
            "principals": [{"authenticated": {"principal_name": _principal(caller)}}],
        }
        for caller, called in sorted(paths.items())
    }
    return extension(
        "envoy.filters.http.rbac",
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        rules={"action": "ALLOW", "policies": rules},
    )


def callers(policy: MethodPolicy) -> tuple[str, ...]:
    """Return the services that may call a method: any, where a user or nobody needs to be known.

    The user's token travels with the call, and the service that is called looks at it.
    """
    return (ANY_SERVICE,) if policy.public or policy.signed_in else tuple(sorted(policy.services))


def _principal(caller: str) -> Json:
    return {"prefix": f"{TRUST_DOMAIN}/"} if caller == ANY_SERVICE else {"exact": tls.identity(caller)}
