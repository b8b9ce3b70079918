"""Load: callers in a closed loop, bounded in number and time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

WARM_UP = 0.2
"""Of the time measured, how much goes before it without being counted."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one measurement saw."""

    latencies_seconds: Sequence[float]
    """Of each call, sorted."""
    elapsed_seconds: float

    @property
    def per_second(self) -> float:
        """Return calls a second, over all callers."""
        return len(self.latencies_seconds) / self.elapsed_seconds

    def percentile_ms(self, percent: float) -> float:
        """Return the latency in milliseconds that `percent` of the calls stayed below."""
        last = len(self.latencies_seconds) - 1
        return self.latencies_seconds[round(last * percent / 100)] * 1000


async def measure(call: Callable[[], Awaitable[object]], callers: int, seconds: float) -> Measured:
    """Let `callers` call again and again for `seconds`; a call that fails ends the measurement with its error."""
    await _loop(call, callers, seconds * WARM_UP)
    started = time.perf_counter()
    latencies = await _loop(call, callers, seconds)
    return Measured(sorted(latencies), time.perf_counter() - started)


async def _loop(call: Callable[[], Awaitable[object]], callers: int, seconds: float) -> list[float]:
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def caller() -> None:
        while (begun := time.perf_counter()) < end:
            await call()
            latencies.append(time.perf_counter() - begun)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    return latencies
