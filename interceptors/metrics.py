"""Rate, errors and duration of every RPC."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram

from interceptors.base import Interceptor

if TYPE_CHECKING:
    import grpc
    from prometheus_client import CollectorRegistry

    from interceptors.base import Call, Proceed

BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics(Interceptor):
    """Counts calls by method and code, and times those that do not stream. gRPC's own methods are left out.

    Labels come from the policy table and the list of codes, never from what a client sent.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter("azora_rpcs", "RPCs served.", ("method", "code"), registry=registry)
        self._seconds = Histogram(
            "azora_rpc_duration_seconds",
            "Duration of unary RPCs.",
            ("method",),
            registry=registry,
            buckets=BUCKETS_SECONDS,
        )
        # A labelled metric finds its child under a lock and by tuples of text; here by what is at hand.
        self._counters: dict[tuple[str, grpc.StatusCode], Counter] = {}
        self._timers: dict[str, Histogram] = {}

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
            path, code = policy.path, call.status
            counter = self._counters.get((path, code))
            if counter is None:
                counter = self._counters[path, code] = self._calls.labels(path[1:], code.name)
            counter.inc()
            if not policy.server_streaming:
                timer = self._timers.get(path)
                if timer is None:
                    timer = self._timers[path] = self._seconds.labels(path[1:])
                timer.observe(time.perf_counter() - started)
