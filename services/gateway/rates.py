"""Rates and quantiles of RPCs between two expositions of the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DURATION = "azora_rpc_duration_seconds"
ERRORS = {"UNKNOWN", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
"""Codes that tell of the system, not of the request."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What was served between two samples."""

    calls_per_second: float
    errors_per_second: float
    buckets: Mapping[float, float]

    def quantile(self, share: float) -> float | None:
        """Return a quantile of the durations, interpolated within its bucket; None without calls.

        Beyond the last bound it is that bound, as in Prometheus.
        """
        wanted = share * self.buckets.get(float("inf"), 0.0)
        if not wanted:
            return None
        lower = below = 0.0
        for upper, count in sorted(self.buckets.items()):
            if count >= wanted:
                return lower if upper == float("inf") else lower + (upper - lower) * (wanted - below) / (count - below)
            lower, below = upper, count
        return lower
