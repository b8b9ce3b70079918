"""A route for every RPC: which service, how long, and whether it may be tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.contract import GATEWAY
from services.compiler.envoy.typed import Json, extension
from services.shared.limits import HEARTBEAT_SECONDS
from services.shared.policy import INFRASTRUCTURE

if TYPE_CHECKING:
    from services.compiler.envoy.profiles import Profile
    from services.shared.policy import MethodPolicy

# Nothing reached the service, so nothing can have happened: any call may be tried again.
NEVER_EXECUTED = "connect-failure,refused-stream"
# A reset may have come after the effect: only for calls that are idempotent, or keyed.
MAYBE_EXECUTED = f"{NEVER_EXECUTED},reset,unavailable"
RETRIES = 3
MISSED_HEARTBEATS = 3
"""Heartbeats of a watch that are missing when it counts as dead: its service hangs, or its reader."""


def rpc_route(profile: Profile, policy: MethodPolicy) -> Json:
    """Return the route of one RPC, the same on both listeners."""
    limit = seconds(policy.timeout_seconds)
    action: Json = {
        "cluster": cluster_of(policy),
        # Never `timeout` beside it: each would silently break the other.
        "max_stream_duration": {"max_stream_duration": limit, "grpc_timeout_header_max": limit},
        "retry_policy": _retries(policy, replicated=profile.is_replicated(cluster_of(policy))),
    }
    if policy.server_streaming:
        action["idle_timeout"] = seconds(MISSED_HEARTBEATS * HEARTBEAT_SECONDS) if policy.watch else limit
    if policy.watch:
        action["priority"] = "HIGH"  # Not that it was urgent: its circuit breaker is another than that of calls.
    if policy.no_side_effects and "per_try_timeout" in action["retry_policy"]:
        action["hedge_policy"] = {"hedge_on_per_try_timeout": True}  # The first answer counts, whoever gives it.
    # All of what gRPC's core accepts, which answers anything else by itself: without ErrorInfo, limits or a log.
    exact = {":method": "POST", ":path": policy.path}
    headers = [{"name": name, "string_match": {"exact": value}} for name, value in exact.items()]
    return {"match": {"path": policy.path, "headers": headers}, "route": action}


def cluster_of(policy: MethodPolicy) -> str:
    """Return the cluster that serves an RPC: its owner's; the gateway itself for health and reflection of the whole."""
    return GATEWAY if policy.service_path in INFRASTRUCTURE else policy.owner


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
