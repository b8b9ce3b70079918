"""What the rounds of a comparison say: medians, and ratios within a round, which the machine's moods do not reach."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.statistics import percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MICROSECONDS = 1_000_000
MILLISECONDS = 1_000


@dataclass(frozen=True, slots=True)
class Round:
    """One subject under load, once."""

    calls: int
    elapsed_seconds: float
    cpu_seconds: float
    """Of all processes that answered; the client's is not among it. 0 if it was not measured."""
    latencies_seconds: Sequence[float]

    @property
    def calls_per_second(self) -> float:
        """Return the throughput over all callers."""
        return self.calls / self.elapsed_seconds

    @property
    def cpu_microseconds(self) -> float:
        """Return the CPU time of one call."""
        return self.cpu_seconds / self.calls * MICROSECONDS

    def percentile_ms(self, percent: float) -> float:
        """Return the latency in milliseconds that `percent` of the calls did not exceed (nearest rank)."""
        return percentile(self.latencies_seconds, percent) * MILLISECONDS


def median_of(rounds: Sequence[Round], value: Callable[[Round], float]) -> float:
    """Return the median of a value over rounds."""
    return statistics.median(map(value, rounds))


def throughput_ratio(ours: Sequence[Round], theirs: Sequence[Round]) -> float:
    """Return the median over rounds of our calls per second over theirs of the same round."""
    return statistics.median(
        our.calls_per_second / their.calls_per_second for our, their in zip(ours, theirs, strict=True)
    )


def cpu_ratio(ours: Sequence[Round], theirs: Sequence[Round]) -> float:
    """Return the median over rounds of their CPU time per call over ours: above 1 where ours costs less."""
    return statistics.median(
        their.cpu_microseconds / our.cpu_microseconds for our, their in zip(ours, theirs, strict=True)
    )


def added_microseconds(whole: Sequence[Round], part: Sequence[Round]) -> float:
    """Return the median over rounds of the CPU time per call that the whole costs more than its part."""
    return statistics.median(
        more.cpu_microseconds - less.cpu_microseconds for more, less in zip(whole, part, strict=True)
    )
