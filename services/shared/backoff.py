"""The delay before another attempt."""

from __future__ import annotations

import random

MIN_SECONDS = 0.5
MAX_SECONDS = 60.0
MAX_DOUBLINGS = 16


def backoff_seconds(failures: int, *, max_seconds: float = MAX_SECONDS) -> float:
    """Return the delay after this many failures in a row: doubling from half a second to `max_seconds`, with jitter.

    The jitter takes away up to a half, so that what failed together is not tried again together.
    """
    ceiling: float = min(MIN_SECONDS * 2 ** min(failures - 1, MAX_DOUBLINGS), max_seconds)
    return ceiling * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret
