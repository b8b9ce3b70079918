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


async def ticks(per_second: float) -> AsyncIterator[None]:
    """Give a steady number of ticks a second; those that are late are made up for."""
    began, count = time.monotonic(), 0
    while True:
        count += 1
        await asyncio.sleep(max(0.0, began + count / per_second - time.monotonic()))
        yield
