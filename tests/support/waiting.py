"""Waiting for something to become true, at most until a deadline: the one place where a test sleeps."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

Value = TypeVar("Value")

POLL_SECONDS = 0.02


async def eventually(probe: Callable[[], Awaitable[Value]], *, within_seconds: float = 10) -> Value:
    """Call `probe` until it returns something true, and return that. Fails after `within_seconds`."""
    deadline = time.monotonic() + within_seconds
    while True:
        value = await probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"still {value!r} after {within_seconds} s")
        await asyncio.sleep(POLL_SECONDS)


def eventually_sync(probe: Callable[[], Value], *, within_seconds: float = 10) -> Value:
    """Call `probe` until it returns something true, and return that. Fails after `within_seconds`."""
    deadline = time.monotonic() + within_seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"still {value!r} after {within_seconds} s")
        time.sleep(POLL_SECONDS)


async def paced(per_second: float, seconds: float) -> AsyncIterator[int]:
    """Yield 0, 1, 2, ... at a constant rate for a while; what is late comes at once."""
    begun, number = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begun) < seconds:
        while number <= elapsed * per_second:
            yield number
            number += 1
        await asyncio.sleep(min(number / per_second, seconds) - elapsed)
