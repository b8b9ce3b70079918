"""Rate, errors and duration of every RPC."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import Histogram

from interceptors.base import OK, Interceptor

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from interceptors.base import Call, Proceed
    from services.shared.policy import MethodPolicy

BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics(Interceptor):
    """Times calls by method and code; how many there were is the histogram's count. gRPC's own methods are left out.

    Labels come from the policy table and the list of codes, never from what a client sent.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._seconds = Histogram(
            "azora_rpc_duration_seconds",
            "Duration of RPCs, streams included.",
            ("method", "code"),
            registry=registry,
            buckets=BUCKETS_SECONDS,
        )
        # To find the child of its labels costs a metric more than to count: those of calls that succeed are kept.
        self._succeeded: dict[str, Histogram] = {}

    def applies(self, policy: MethodPolicy) -> bool:
        """Whether it is not one of gRPC's own methods."""
        return policy.tier is not None

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Count and time the call when it has ended, however it did."""
        started = time.perf_counter()
        try:
            await proceed()
        finally:
            path, seconds = call.policy.path, time.perf_counter() - started
            if call.status is not OK:
                self._seconds.labels(path[1:], call.status.name).observe(seconds)
            elif path in self._succeeded:
                self._succeeded[path].observe(seconds)
            else:
                child = self._succeeded[path] = self._seconds.labels(path[1:], call.status.name)
                child.observe(seconds)
