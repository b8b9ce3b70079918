"""A route for every RPC: which service, how long, and whether it may be tried again."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from services.compiler.contract import GATEWAY
from services.compiler.envoy.profiles import GATEWAY_CONSOLE
from services.compiler.envoy.typed import Json, extension
from services.shared.limits import HEARTBEAT_SECONDS
from services.shared.policy import INFRASTRUCTURE, Priority

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.compiler.envoy.profiles import Profile
    from services.shared.policy import MethodPolicy

# Nothing reached the service, so nothing can have happened: any call may be tried again.
NEVER_EXECUTED = "connect-failure,refused-stream"
# A reset may have come after the effect: only for calls that are idempotent, or keyed.
MAYBE_EXECUTED = f"{NEVER_EXECUTED},reset,unavailable"
RETRIES = 3
MISSED_HEARTBEATS = 3
"""Heartbeats of a watch that are missing when it counts as dead: its service hangs, or its reader. Any other stream is
given as long."""


def rpc_route(profile: Profile, policy: MethodPolicy, *, mesh: bool = False) -> Json:
    """Return the route of one RPC at the edge, or for calls between services."""
    limit = seconds(policy.timeout_seconds)
    action: Json = {
        "cluster": cluster_of(policy, mesh=mesh),
        # Never `timeout` beside it: each would silently break the other.
        "max_stream_duration": {"max_stream_duration": limit, "grpc_timeout_header_max": limit},
        "retry_policy": _retries(policy, replicated=profile.is_replicated(_server_of(policy))),
    }
    if policy.server_streaming:
        action["idle_timeout"] = seconds(MISSED_HEARTBEATS * HEARTBEAT_SECONDS)
    if policy.priority >= Priority.HIGH:
        action["priority"] = "HIGH"  # A circuit breaker of its own: what fills the other takes nothing from it.
    if policy.no_side_effects and "per_try_timeout" in action["retry_policy"]:
        action["hedge_policy"] = {"hedge_on_per_try_timeout": True}  # The first answer counts, whoever gives it.
    return {"match": {"path": policy.path}, "route": action}


def by_path(rpcs: Iterable[Json], others: Sequence[Json] = ()) -> Json:
    """Return a virtual host's matcher: finds RPCs in a map, by method and path, and tries all other routes in order.

    A list would be gone through for every call, twice where it is transcoded. No other method leads to an RPC, and no
    path with a query: gRPC's core would answer these by itself, without ErrorInfo, limits or a log.
    """
    paths: dict[str, list[Json]] = defaultdict(list)
    for rpc in rpcs:
        paths[rpc["match"]["path"]].append(rpc)
    otherwise = {"on_no_match": _routed(others)} if others else {}
    rpc_paths = _mapped(":path", {path: _routed(routes) for path, routes in paths.items()}) | otherwise
    return {"matcher": _mapped(":method", {"POST": {"matcher": rpc_paths}}) | otherwise}


def _mapped(header: str, results: Json) -> Json:
    value = extension(header, "envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name=header)
    return {"matcher_tree": {"input": value, "exact_match_map": {"map": results}}}


def _routed(routes: Sequence[Json]) -> Json:
    return {"action": extension("routes", "envoy.config.route.v3.RouteList", routes=routes)}


def cluster_of(policy: MethodPolicy, *, mesh: bool = False) -> str:
    """Return the cluster that serves an RPC: its owner's; the gateway itself for health, reflection and console.

    Of an owner there are several, each with bounds of its own: for calls through the edge, for those of other services,
    and for what lasts long.
    """
    if policy.service_path in INFRASTRUCTURE:
        return GATEWAY
    if policy.owner == GATEWAY:
        return GATEWAY_CONSOLE
    if policy.server_streaming:
        return streams(policy.owner)
    if checks_credentials(policy):
        return credentials(policy.owner)
    return between_services(policy.owner) if mesh else policy.owner


def _server_of(policy: MethodPolicy) -> str:
    """Return the service that serves an RPC, whatever cluster leads there."""
    return GATEWAY if policy.service_path in INFRASTRUCTURE else policy.owner


def between_services(owner: str) -> str:
    """Return the cluster of a service for calls of other services."""
    return f"{owner}-mesh"


def streams(owner: str) -> str:
    """Return the cluster of a service for watches and long answers, which last as long as their reader likes."""
    return f"{owner}-streams"


def credentials(owner: str) -> str:
    """Return the cluster of a service for calls that check passwords."""
    return f"{owner}-credentials"


def checks_credentials(policy: MethodPolicy) -> bool:
    """Whether a call checks a password: its tier is that of authentication attempts."""
    return policy.tier is not None and policy.tier.name == "CREDENTIALS"


def seconds(value: float) -> str:
    """Return a duration as Envoy's JSON has it."""
    return f"{value:g}s"


def _retries(policy: MethodPolicy, *, replicated: bool) -> Json:
    repeatable = policy.retry_safe and not policy.server_streaming
    retries: Json = {
        "retry_on": MAYBE_EXECUTED if repeatable else NEVER_EXECUTED,
        "num_retries": RETRIES,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        # Somewhere else than where it failed; without the many attempts the same dead replica may be picked again.
        "retry_host_predicate": [
            extension(
                "envoy.retry_host_predicates.previous_hosts",
                "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            )
        ],
        "host_selection_retry_max_attempts": 20,
    }
    if repeatable and replicated:  # A single replica that is slow would only have more to do.
        retries["per_try_timeout"] = seconds(policy.timeout_seconds / 2)
    return retries
