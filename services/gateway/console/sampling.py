"""Samples of the metrics of all processes, one every two seconds, those of the last ten minutes."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from services.gateway.rates import DURATION, ERRORS, Rates

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence

    from services.gateway.metrics import ReplicaMetrics

logger = logging.getLogger(__name__)

SAMPLE_SECONDS = 2.0
MAX_SAMPLES = 300
MAX_SERIES = 50_000
"""Of which name and labels are kept parsed. Labels are bounded: methods of the policy table, codes, buckets."""
GAUGES = {
    "process_start_time_seconds": "start_time",
    "process_resident_memory_bytes": "memory_bytes",
    "process_cpu_seconds_total": "cpu_seconds",
}
READ = (f"{DURATION}_bucket", f"{DURATION}_count", "azora_build_info", *GAUGES)
"""Starts of the lines that are read: of the rest, which is most, nothing is parsed."""


@dataclass(slots=True)
class MethodCounts:
    """The calls of an RPC since its process started."""

    errors: float = 0.0
    buckets: dict[float, float] = field(default_factory=lambda: defaultdict(float))
    """Calls by upper bound of their duration, cumulative, as Prometheus has them."""


@dataclass(slots=True)
class ReplicaCounts:
    """What a process tells of itself."""

    service: str
    number: int
    answers: bool
    version: str = ""
    start_time: float = 0.0
    memory_bytes: float = 0.0
    cpu_seconds: float = 0.0
    methods: dict[str, MethodCounts] = field(default_factory=lambda: defaultdict(MethodCounts))


@dataclass(frozen=True, slots=True)
class MethodRates:
    """What was measured of an RPC between two samples, over all replicas."""

    calls_per_second: float
    errors_per_second: float
    p50_seconds: float
    """0 without calls, and of streams, which last as long as their client likes."""
    p99_seconds: float


@dataclass(frozen=True, slots=True)
class Sample:
    """The RPCs that were called since the sample before it."""

    time: datetime
    methods: Mapping[str, MethodRates]


class Sampler:
    """Keeps the samples, and the replicas as they were found last."""

    def __init__(
        self, collect: Callable[[], Awaitable[Sequence[ReplicaMetrics]]], streams: Container[str] = ()
    ) -> None:
        """`streams` are the gRPC methods with a stream of responses."""
        self._collect = collect
        self._streams = streams
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._before: Mapping[tuple[str, int], ReplicaCounts] = {}
        self._replicas: Mapping[tuple[str, int], ReplicaCounts] = {}
        self._seconds = 0.0
        """Time between the last two samples; 0 before there are two."""
        self._taken_at = 0.0

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            try:
                await self.take()
            except ValueError as error:  # Metrics that cannot be parsed: the next sample may do.
                logger.warning("metrics not sampled", extra={"error": str(error)[:200]})
            await asyncio.sleep(SAMPLE_SECONDS)

    async def take(self) -> None:
        """Take a sample. Raises ValueError for metrics that cannot be parsed."""
        now = asyncio.get_running_loop().time()  # Before one that does not answer is waited for: the others do at once.
        collected = await self._collect()
        counted = {(each.service, each.number): counts_of(each) for each in collected}
        if self._replicas:
            self._seconds = now - self._taken_at
            rates = _rates(self._replicas, counted, self._seconds, self._streams)
            self._samples.append(Sample(datetime.now(UTC), rates))
        self._before, self._replicas, self._taken_at = self._replicas, counted, now

    @property
    def replicas(self) -> Iterable[ReplicaCounts]:
        """The replicas of all services, the gateway's last."""
        return self._replicas.values()

    def samples(self, after: datetime | None = None) -> Sequence[Sample]:
        """Return the samples that were taken after a time, the oldest first."""
        return [sample for sample in self._samples if after is None or sample.time > after]

    def cpu_share(self, replica: ReplicaCounts) -> float:
        """Return the share of a CPU that a replica used between the last two samples; 0 where it is not known."""
        before = self._before.get((replica.service, replica.number))
        if before is None or before.start_time != replica.start_time or not self._seconds:
            return 0.0
        return (replica.cpu_seconds - before.cpu_seconds) / self._seconds


def counts_of(collected: ReplicaMetrics) -> ReplicaCounts:
    """Return what the metrics of a process say. Raises ValueError for metrics that cannot be parsed."""
    counts = ReplicaCounts(collected.service, collected.number, answers=collected.text is not None)
    for line in (collected.text or b"").decode().splitlines():
        if not line.startswith(READ):
            continue
        series, _, text = line.rpartition(" ")
        value, (name, labels) = float(text), _series(series)
        if name in GAUGES:
            setattr(counts, GAUGES[name], value)
        elif name == "azora_build_info":
            counts.version = labels["version"]
        elif name == f"{DURATION}_bucket":
            counts.methods[labels["method"]].buckets[float(labels["le"])] += value
        elif labels["code"] in ERRORS:
            counts.methods[labels["method"]].errors += value
    return counts


@lru_cache(maxsize=MAX_SERIES)
def _series(text: str) -> tuple[str, Mapping[str, str]]:
    """Return name and labels of a series. Raises ValueError.

    The package parses a line in 45 us, and there are thousands, which would block health checks for half a second.
    """
    (family,) = text_string_to_metric_families(f"{text} 0\n")
    (sample,) = family.samples
    return sample.name, sample.labels


def _rates(
    before: Mapping[tuple[str, int], ReplicaCounts],
    after: Mapping[tuple[str, int], ReplicaCounts],
    seconds: float,
    streams: Container[str],
) -> dict[str, MethodRates]:
    """Return the rates of the RPCs that were called between two samples."""
    errors: dict[str, float] = defaultdict(float)
    buckets: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for key, replica in after.items():
        earlier = before.get(key)
        if earlier is None or not (earlier.answers and replica.answers):
            continue  # What it counted meanwhile is no rate of these two seconds.
        known = earlier.methods if earlier.start_time == replica.start_time else {}
        for method, counts in replica.methods.items():
            past = known.get(method, MethodCounts())
            errors[method] += counts.errors - past.errors
            for bound, count in counts.buckets.items():
                buckets[method][bound] += count - past.buckets.get(bound, 0.0)
    found = {}
    for method, counted in buckets.items():
        calls = counted.get(float("inf"), 0.0)
        if calls > 0:
            rates = Rates(calls / seconds, errors[method] / seconds, counted)
            p50, p99 = (0.0, 0.0) if method in streams else (rates.quantile(0.5) or 0.0, rates.quantile(0.99) or 0.0)
            found[method] = MethodRates(rates.calls_per_second, rates.errors_per_second, p50, p99)
    return found
