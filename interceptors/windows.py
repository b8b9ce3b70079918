"""Sliding-window counters in this process."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

WINDOW_SECONDS = 60

Hit: TypeAlias = tuple[bool, int, int]
"""Whether a hit is allowed, how many are left, and the seconds to the next one.

While some are left, the seconds are those to the end of the minute.
"""


class Windows:
    """Counts hits per key and minute; of the last minute counts as much as would still lie within sixty seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._minute = 0.0
        self._current: dict[Hashable, int] = {}
        self._previous: dict[Hashable, int] = {}

    def hit(self, key: Hashable, limit: int, *, cost: int = 1) -> Hit:
        """Count a hit, as `cost` hits, unless it is above `limit`."""
        minute, into = divmod(self._clock(), WINDOW_SECONDS)
        if minute != self._minute:
            self._previous = self._current if minute == self._minute + 1 else {}
            self._current, self._minute = {}, minute
        current, previous = self._current.get(key, 0), self._previous.get(key, 0)
        hit = decide(current, previous, into, limit, cost)
        if hit[0]:
            self._current[key] = current + cost
        return hit


def decide(current: int, previous: int, into_seconds: float, limit: int, cost: int) -> Hit:
    """Decide on a hit of a minute that has `current` ones, after one that had `previous`."""
    used = math.floor(current + previous * (1 - into_seconds / WINDOW_SECONDS))
    room = limit - cost + 1
    if used < room:
        return True, limit - used - cost, math.ceil(WINDOW_SECONDS - into_seconds)
    # Until enough of the last minute has passed out of the window, or all of this one into the last.
    free_at = WINDOW_SECONDS * (1 - (room - current) / previous) if current < room else WINDOW_SECONDS
    return False, max(0, limit - used), max(1, math.floor(free_at - into_seconds) + 1)
