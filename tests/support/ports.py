"""Ports that nothing else takes: below those that the system gives to outgoing connections, each handed out once."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket

FIRST, SPREAD, LAST = 20_000, 10_000, 32_000
WORKERS = 8
"""Tests that run side by side in so many workers never take each other's ports."""
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
_start = FIRST + os.getpid() % SPREAD // WORKERS * WORKERS
_candidates = itertools.chain(range(_start + _worker, LAST, WORKERS), range(FIRST + _worker, LAST, WORKERS))


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on and that this process has not been given before."""
    for port in _candidates:
        with socket.socket() as candidate:
            if candidate.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no free port")


async def accepts(port: int) -> bool:
    """Whether something listens on a port of 127.0.0.1."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
