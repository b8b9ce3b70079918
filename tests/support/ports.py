"""Ports that nothing else takes: below those that the system gives to outgoing connections, each handed out once."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

FIRST, LAST = 20_000, 32_000
_candidates = (FIRST + (os.getpid() * 37 + number) % (LAST - FIRST) for number in range(LAST - FIRST))
_claims: list[socket.socket] = []
"""A name for each port that this process has been given: tests beside these, of whatever run, ask for it first."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on and that no running process of tests has been given before."""
    for port in _candidates:
        if _claimed(port):
            with socket.socket() as candidate:
                if candidate.connect_ex(("127.0.0.1", port)):
                    return port
    raise AssertionError("no free port")


def _claimed(port: int) -> bool:
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0azora-test-port-{port}")  # Abstract: gone with the process.
    except OSError as error:
        claim.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    _claims.append(claim)
    return True


async def accepts(port: int) -> bool:
    """Whether something listens on a port of 127.0.0.1."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
