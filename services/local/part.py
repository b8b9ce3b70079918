"""One part of the system: a process that is started, watched, started again when it breaks, and stopped.

starting -> ready -> broken -> starting -> ...        from any of these: -> stopping -> stopped
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from services.local.errors import PartFailed
from services.local.probes import until
from services.local.processes import how_it_ended, spawn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.local.leftovers import Register
    from services.local.processes import Command

QUICK_SECONDS = 5.0
"""A part that breaks sooner than this after it was ready has failed quickly."""
QUICK_FAILURES_MAX = 5
BACKOFF_SECONDS = 0.25
"""Before the first restart; each quick failure doubles it."""


class State(StrEnum):
    """Where in its life a part is."""

    STARTING = "starting"
    READY = "ready"
    BROKEN = "broken"
    STOPPING = "stopping"
    STOPPED = "stopped"


async def nothing() -> None:
    """Need no farewell."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a part is run."""

    name: str
    command: Command
    ready: Callable[[], Awaitable[bool]]
    """Whether it does its work now. Asked again and again while it starts; must answer within a second or so."""
    prepare: Callable[[], None] = lambda: None
    """Clears what a broken run left in the way; called before each start."""
    farewell: Callable[[], Awaitable[None]] = nothing
    """What is done before the stop signal, in bounded time."""
    stop_signal: signal.Signals = signal.SIGTERM
    kill_signal: signal.Signals = signal.SIGKILL
    """What ends it when it does not stop, or when a second Ctrl-C asks for haste."""
    start_seconds: float = 60.0
    stop_seconds: float = 15.0


class Part:
    """A running part. `start` it, `keep` it in a task of its own, cancel that, and `stop` it."""

    def __init__(self, plan: Plan, register: Register, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.state = State.STOPPED
        self._register = register
        self._say = say
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises PartFailed when it ends first, or takes too long."""
        self.state = State.STARTING
        self.plan.prepare()
        self._process = await spawn(self.plan.command)
        self._register.add(self.plan.name, self._process.pid, self.plan.stop_signal)
        try:
            async with asyncio.timeout(self.plan.start_seconds):
                await until(self._is_ready)
        except TimeoutError:
            self.kill()
            raise self._failed(f"was not ready after {self.plan.start_seconds:.0f} seconds") from None
        self.state = State.READY

    async def keep(self) -> None:
        """Start it again whenever it ends, until cancelled. Raises PartFailed at the fifth quick failure in a row."""
        clock = asyncio.get_running_loop()
        failures = 0
        while True:
            since = clock.time()
            ended = await self._ended()
            failures = failures + 1 if clock.time() - since < QUICK_SECONDS else 1
            self.state = State.BROKEN
            if failures == QUICK_FAILURES_MAX:
                raise self._failed(f"ended {failures} times in a row (the last time: {ended})")
            pause_seconds = BACKOFF_SECONDS * 2 ** (failures - 1)
            self._say(f"{self.plan.name} ended ({ended}); starting it again in {pause_seconds:.2g} s")
            await asyncio.sleep(pause_seconds)
            with suppress(PartFailed):  # Then it has ended again, and the next round counts that.
                await self.start()
                self._say(f"{self.plan.name} is back")

    async def stop(self) -> None:
        """Stop it: the farewell, the stop signal, and the kill signals when its time is up."""
        if self.pid is not None:
            self.state = State.STOPPING
            await self.plan.farewell()
            for number in (self.plan.stop_signal, self.plan.kill_signal, signal.SIGKILL):
                self._send(number)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.plan.stop_seconds):
                        await self._ended()
                        break
                self._say(f"{self.plan.name} did not stop within {self.plan.stop_seconds:.0f} s; insisting")
        self.state = State.STOPPED

    def kill(self) -> None:
        """End it at once; `stop` is still to be awaited."""
        self._send(self.plan.kill_signal)

    async def _is_ready(self) -> bool:
        if self._process is not None and self._process.returncode is not None:
            raise self._failed(f"ended while it started ({how_it_ended(self._process.returncode)})")
        return await self.plan.ready()

    async def _ended(self) -> str:
        """Wait until its process has ended, and say how."""
        if self._process is None:
            return "never started"
        code = await self._process.wait()
        self._register.remove(self.plan.name)
        return how_it_ended(code)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _failed(self, what: str) -> PartFailed:
        return PartFailed(part=self.plan.name, what=what, log=self.plan.command.log)
