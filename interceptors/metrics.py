"""Rate, errors and duration of every RPC."""

from __future__ import annotations

import time
from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from interceptors.base import Interceptor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry

    from interceptors.base import Call, Proceed
    from services.shared.policy import MethodPolicy

BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Durations(Collector):
    """The histogram of RPCs by method and code. The library's own would cost a call five times as much."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._counts: dict[tuple[str, str], list[int]] = {}
        """Numbers of calls by path and code: one for each bucket, of which the last has no bound."""
        self._seconds: dict[tuple[str, str], float] = {}
        if registry is not None:
            registry.register(self)

    def observe(self, path: str, code: str, seconds: float) -> None:
        """Count a call that ended with a code."""
        key = (path, code)
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = [0] * (len(BUCKETS_SECONDS) + 1)
            self._seconds[key] = 0.0
        counts[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        self._seconds[key] += seconds

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """Yield the name, which a registry has once."""
        return self.collect()

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram."""
        durations = HistogramMetricFamily(
            "azora_rpc_duration_seconds", "Duration of RPCs, streams included.", labels=("method", "code")
        )
        bounds = [*map(str, BUCKETS_SECONDS), "+Inf"]
        for (path, code), counts in self._counts.items():
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            durations.add_metric((path[1:], code), buckets, self._seconds[path, code])
        yield durations


class Metrics(Interceptor):
    """Times calls by method and code; how many there were is the histogram's count. gRPC's own methods are left out.

    Labels come from the policy table and the list of codes, never from what a client sent.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._durations = Durations(registry)

    def applies(self, policy: MethodPolicy) -> bool:
        """Whether it is not one of gRPC's own methods."""
        return policy.tier is not None

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Count and time the call when it has ended, however it did."""
        try:
            await proceed()
        finally:
            self._durations.observe(call.policy.path, call.status_name, time.perf_counter() - call.started)
