"""The gRPC service config of clients: timeouts, and retries of methods without side effects.

The format is gRPC's service config (grpc.service_config.ServiceConfig). It promises no retries of methods that take an
idempotency key: a client that sends none would have each attempt count as a call of its own. azora.client sets keys,
and adds those retries to what it loads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import MethodOptions

from services.compiler.envoy.routes import seconds

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

    from services.compiler.contract import Contract
    from services.compiler.envoy.typed import Json
    from services.shared.policy import MethodPolicy

LEEWAY_SECONDS = 2
"""How much longer a client waits than Envoy lets the call run.

Envoy's response, which says why, should be there first. And gRPC's C core, Python's with it, ends calls one to two
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
    policies = contract.policies
    methods = [
        _method(method, policies[f"/{service.full_name}/{method.name}"])
        for service in contract.declared
        for method in service.methods
    ]
    return {"methodConfig": methods, "retryThrottling": RETRY_THROTTLING}


def _method(method: MethodDescriptor, policy: MethodPolicy) -> Json:
    config: Json = {
        "name": [{"service": policy.service_path, "method": method.name}],
        "timeout": seconds(policy.timeout_seconds + LEEWAY_SECONDS),
    }
    # A stream cannot be taken up by gRPC: its client knows where it was.
    if method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS and not policy.server_streaming:
        config["retryPolicy"] = RETRY_POLICY
    return config
