"""Processes: what is started here and ended again, whatever happens, and what they cost."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

import psutil

from bench.errors import BenchmarkError, DidNotStart

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
    from pathlib import Path

START_SECONDS = 240
POLL_SECONDS = 0.02
STOP_SECONDS = 40


@asynccontextmanager
async def child(
    *arguments: str | Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program; stop it in the end, and kill it if it does not."""
    with log.open("ab") as output:
        # In a session of its own: Ctrl-C reaches it through us alone, once.
        process = await asyncio.create_subprocess_exec(
            *arguments, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        await _stop(process, stop_signal)


async def until(process: asyncio.subprocess.Process, holds: Callable[[], Awaitable[bool]], log: Path) -> None:
    """Wait until something holds of a process that starts. Raises DidNotStart, with its log."""
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await holds():
                if process.returncode is not None:
                    raise DidNotStart(await asyncio.to_thread(log.read_text))
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise DidNotStart(await asyncio.to_thread(log.read_text)) from None


async def run(*arguments: str, seconds: float) -> str:
    """Run a program and return its output. Raises BenchmarkError when it fails, TimeoutError when it hangs."""
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate()
    finally:
        await _stop(process, signal.SIGKILL)
    if process.returncode:
        raise BenchmarkError(f"{arguments[0]} failed: {output.decode(errors='replace')}")
    return output.decode(errors="replace")


@contextmanager
def real_time_priority() -> Iterator[None]:
    """Run this process before all others within the block: it waits for no CPU, like a caller on another machine.

    Requires CAP_SYS_NICE, which root has; without it, prints a warning and changes nothing.
    """
    try:
        _schedule(os.SCHED_RR, priority=1)
    except (AttributeError, PermissionError):  # Python has these calls on Linux only.
        print("no CAP_SYS_NICE: latencies include the time that callers wait for a CPU", file=sys.stderr)
        yield
        return
    try:
        yield
    finally:
        _schedule(os.SCHED_OTHER, priority=0)


def _schedule(policy: int, *, priority: int) -> None:
    for thread in psutil.Process().threads():
        with suppress(ProcessLookupError):
            os.sched_setscheduler(thread.id, policy, os.sched_param(priority))


def cpu_seconds(roots: Iterable[psutil.Process]) -> float:
    """Return the CPU time that these processes and all below them have used.

    What a process that has ended used is counted with its parent, who waited for it.
    """
    processes = {process for root in roots for process in (root, *root.children(recursive=True))}
    used = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    return used


async def _stop(process: asyncio.subprocess.Process, stop_signal: signal.Signals) -> None:
    for number in (stop_signal, signal.SIGKILL):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
