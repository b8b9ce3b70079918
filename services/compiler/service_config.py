"""What gRPC clients do by themselves: end calls that take too long, and retry those that the contract calls safe.

The format is gRPC's service config (grpc.service_config.ServiceConfig).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.envoy.routes import seconds

if TYPE_CHECKING:
    from services.compiler.contract import Contract
    from services.compiler.envoy.typed import Json
    from services.shared.policy import MethodPolicy

LEEWAY_SECONDS = 2
"""How much longer a client waits than the gateway lets the call run.

The gateway's answer, which says why, should be there first. And gRPC's C core, Python's with it, ends calls one to two
seconds before a service config's timeout (grpc/grpc#34547): a call of two seconds could end at once.
"""
RETRY_POLICY = {
    "maxAttempts": 3,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
# While more than half of the recent calls fail, clients stop retrying: ten failures empty the bucket by half.
RETRY_THROTTLING = {"maxTokens": 20, "tokenRatio": 0.1}


def service_config(contract: Contract) -> Json:
    """Return the service config of all methods that our own .proto files declare."""
    declared = {service.full_name for service in contract.declared}
    policies = [policy for policy in contract.policies().values() if policy.service_path in declared]
    return {"methodConfig": [_method(policy) for policy in policies], "retryThrottling": RETRY_THROTTLING}


def _method(policy: MethodPolicy) -> Json:
    service, method = policy.path.removeprefix("/").split("/")
    config: Json = {
        "name": [{"service": service, "method": method}],
        "timeout": seconds(policy.timeout_seconds + LEEWAY_SECONDS),
    }
    if policy.retry_safe:
        config["retryPolicy"] = RETRY_POLICY
    return config
