"""Sliding-window counters in this process."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW_SECONDS = 60


class Windows:
    """Counts hits per key and minute; of the last minute counts as much as would still lie within sixty seconds.

    The same approximation as `limits`' sliding-window counter, which takes two asynchronous steps and a timer per hit
    for it: forty times as long.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._minute = 0.0
        self._current: dict[tuple[str, ...], int] = {}
        self._previous: dict[tuple[str, ...], int] = {}

    def hit(self, key: tuple[str, ...], limit: int, *, cost: int = 1) -> tuple[bool, int, int]:
        """Count a hit, as `cost` hits, unless it is above `limit`.

        Return whether it is allowed, how many are left, and the seconds to the next one.

        While some are left, the seconds are those to the end of the minute.
        """
        minute, into = divmod(self._clock(), WINDOW_SECONDS)
        if minute != self._minute:
            self._previous = self._current if minute == self._minute + 1 else {}
            self._current, self._minute = {}, minute
        current, previous = self._current.get(key, 0), self._previous.get(key, 0)
        used = math.floor(current + previous * (1 - into / WINDOW_SECONDS))
        room = limit - cost + 1
        if used < room:
            self._current[key] = current + cost
            return True, limit - used - cost, math.ceil(WINDOW_SECONDS - into)
        # Until enough of the last minute has passed out of the window, or all of this one into the last.
        free_at = WINDOW_SECONDS * (1 - (room - current) / previous) if current < room else WINDOW_SECONDS
        return False, max(0, limit - used), max(1, math.floor(free_at - into) + 1)
