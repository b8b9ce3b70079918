"""Profiles of the hot paths, as text: where a service's Python spends its time for one kind of call."""

from __future__ import annotations

import io
import pstats
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from bench import client
from bench.errors import WrongAnswer
from bench.load import load
from bench.processes import child, until

if TYPE_CHECKING:
    from pathlib import Path

    from bench.client import Request
    from bench.system import System

FUNCTIONS = 30


async def profile(folder: Path, system: System, service: str, request: Request, *, callers: int, seconds: float) -> str:
    """Load one more replica of the service, which runs under cProfile on the system's own data; return the profile.

    cProfile makes every call of a function dearer: trust the order and the counts, not the times.
    """
    socket, statistics = folder / f"{service}-profiled.sock", folder / f"{service}.profile"
    environment = system.service(service).environ() | {"AZORA_LISTEN": f"unix:{socket}"}
    arguments = (sys.executable, "-m", "bench.profiled", f"services.{service}", statistics)
    log = folder / f"{service}-profiled.log"
    async with child(*arguments, log=log, environment=environment, stop_signal=signal.SIGTERM) as process:
        profiled = replace(request, target=f"unix:{socket}")
        await until(process, lambda: _answers(profiled), log)
        process.send_signal(signal.SIGUSR1)
        seen = await load(profiled, callers, seconds)
    return f"{seen.calls} calls\n{_text(statistics)}"


async def _answers(request: Request) -> bool:
    try:
        await client.call(request)
    except WrongAnswer:
        return False
    return True


def _text(statistics: Path) -> str:
    text = io.StringIO()
    stats = pstats.Stats(str(statistics), stream=text).strip_dirs()
    for order in ("cumulative", "tottime"):
        stats.sort_stats(order).print_stats(FUNCTIONS)
    return text.getvalue()
