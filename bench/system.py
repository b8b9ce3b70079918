"""The system under measurement: started as `make run` does, on a port and in a home of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

START_SECONDS = 90
LIMITS_TIMES = "100000"
"""Rate limits are not what is measured."""


@asynccontextmanager
async def running_system(folder: Path) -> AsyncIterator[str]:
    """Start the system below `folder`; give its URL; stop it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {
        "AZORA_PORT": str(port),
        "AZORA_HOME": str(folder / "home"),
        "AZORA_RATE_LIMIT_SCALE": LIMITS_TIMES,
        "AZORA_LOG_LEVEL": "WARNING",
    }
    edge = f"http://127.0.0.1:{port}"
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "azora", "up", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await _healthy(edge, process)
        yield edge
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()


async def _healthy(edge: str, process: asyncio.subprocess.Process) -> None:
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(START_SECONDS):
        while process.returncode is None:
            try:
                if (await http.get(f"{edge}/health")).is_success and (await http.get(f"{edge}/v1/courses")).json()[
                    "courses"
                ]:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.2)
    raise SystemExit("the system did not start")
