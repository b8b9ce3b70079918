"""Rate, errors and duration of every RPC."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc
from prometheus_client import Counter, Histogram

from interceptors.base import Interceptor

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from interceptors.base import Call, Proceed

BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics(Interceptor):
    """Counts calls by method and code, and times those that do not stream. gRPC's own methods are left out.

    Labels come from the policy table and the list of codes, never from what a client sent.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._calls = Counter("azora_rpcs", "RPCs served.", ("method", "code"), registry=registry)
        self._seconds = Histogram(
            "azora_rpc_duration_seconds",
            "Duration of unary RPCs.",
            ("method",),
            registry=registry,
            buckets=BUCKETS_SECONDS,
        )
        # To find the child of its labels costs a metric more than to count: those of calls that succeed are kept.
        self._kept: dict[str, tuple[Counter, Histogram]] = {}

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Count and time the call when it has ended, however it did."""
        policy = call.policy
        if policy.tier is None:
            await proceed()
            return
        started = time.perf_counter()
        try:
            await proceed()
        finally:
            succeeded, seconds = self._kept.get(policy.path) or self._keep(policy.path)
            if not policy.server_streaming:
                seconds.observe(time.perf_counter() - started)
            if call.status is grpc.StatusCode.OK:
                succeeded.inc()
            else:
                self._calls.labels(policy.path[1:], call.status.name).inc()

    def _keep(self, path: str) -> tuple[Counter, Histogram]:
        method = path[1:]
        kept = self._kept[path] = (self._calls.labels(method, grpc.StatusCode.OK.name), self._seconds.labels(method))
        return kept
