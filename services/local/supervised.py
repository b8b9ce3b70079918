"""A supervised process: started, watched, restarted when it ends, and stopped.

starting -> ready -> broken -> starting -> ...        from any of these: -> stopping -> stopped
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from services.local.errors import ProcessFailed
from services.local.probes import until
from services.local.processes import how_it_ended, spawn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from services.local.orphans import Register
    from services.local.processes import Command

QUICK_SECONDS = 5.0
"""A process that ends sooner than this after it was ready has failed quickly."""
MAX_QUICK_FAILURES = 5
GIVE_UP_SECONDS = 10.0
"""Minimum time of quick failures before a process counts as failed: what a killed one left may need as long to end."""
BACKOFF_SECONDS = 0.25
"""Pause before the first restart; doubled by each quick failure."""
MAX_BACKOFF_SECONDS = 4.0
MAX_DOUBLINGS = 10


class State(StrEnum):
    """Lifecycle state of a process."""

    STARTING = "starting"
    READY = "ready"
    BROKEN = "broken"
    STOPPING = "stopping"
    STOPPED = "stopped"


async def nothing() -> None:
    """Need no preparation for a stop."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """How a process is run."""

    name: str
    command: Command
    ready: Callable[[], Awaitable[bool]]
    """Readiness probe, polled during the start and while the process runs; must answer within about a second."""
    prepare: Callable[[], None] = lambda: None
    """Removes what an earlier process left in the way; called before each start."""
    pre_stop: Callable[[], Awaitable[None]] = nothing
    """Runs before the stop signal, in bounded time."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Listen addresses by name: those of Envoy's upstreams, and `mesh` of its internal listener."""
    stop_signal: signal.Signals = signal.SIGTERM
    kill_signal: signal.Signals = signal.SIGKILL
    """Sent when it does not stop in time, or at a second Ctrl-C."""
    start_seconds: float = 60.0
    stop_seconds: float = 15.0


class SupervisedProcess:
    """A running process. `start` it, `watch` it in a task of its own, cancel that task, and `stop` it."""

    def __init__(
        self,
        spec: ProcessSpec,
        register: Register,
        say: Callable[[str], None],
        *,
        changed: Callable[[], None] = lambda: None,
        dispensable: Callable[[], bool] = lambda: False,
    ) -> None:
        """Call `changed` when it has ended and when it is back; ask `dispensable` whether others do its work."""
        self.spec = spec
        self.state = State.STOPPED
        self.ended = False
        """Whether it has ended and is not ready again."""
        self._failed_often = False
        self._ready_time = 0.0
        self._register = register
        self._say = say
        self._changed = changed
        self._dispensable = dispensable
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def failing(self) -> bool:
        """Whether it has failed quickly so often that it counts as failed for good: until it runs on for a while."""
        quick = asyncio.get_running_loop().time() - self._ready_time < QUICK_SECONDS
        return self._failed_often and (self.ended or quick)

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises ProcessFailed when it ends first, or takes too long."""
        self.state = State.STARTING
        try:
            self.spec.prepare()
            self._process = await spawn(self.spec.command)
        except OSError as error:
            raise self._failed(f"could not be started ({error.strerror})") from error
        self._register.add(self.spec.name, self._process.pid, self.spec.stop_signal, self.spec.addresses)
        try:
            async with asyncio.timeout(self.spec.start_seconds):
                await until(self._is_ready)
        except TimeoutError:
            self.kill()
            raise self._failed(f"was not ready after {self.spec.start_seconds:.0f} seconds") from None
        self.state = State.READY
        self.ended = False
        self._ready_time = asyncio.get_running_loop().time()
        self._changed()

    async def watch(self) -> None:
        """Restart it whenever it ends, until cancelled.

        Raises ProcessFailed when it keeps failing quickly, unless other replicas do its work.
        """
        clock = asyncio.get_running_loop()
        failures, failing_since = 0, 0.0
        while True:
            since = clock.time()
            ended = await self._ended()
            quick = clock.time() - since < QUICK_SECONDS
            failures, failing_since = (failures + 1, failing_since) if failures and quick else (1, clock.time())
            self.state, self.ended = State.BROKEN, True
            self._changed()
            self._failed_often = failures >= MAX_QUICK_FAILURES and clock.time() - failing_since >= GIVE_UP_SECONDS
            if self.failing and not self._dispensable():
                raise self._failed(f"ended {failures} times in a row (the last time: {ended})")
            pause_seconds = min(BACKOFF_SECONDS * 2.0 ** min(failures - 1, MAX_DOUBLINGS), MAX_BACKOFF_SECONDS)
            self._say(f"{self.spec.name} ended ({ended}); restarting in {pause_seconds:.2g} s")
            await asyncio.sleep(pause_seconds)
            with suppress(ProcessFailed):  # It has ended again then, which the next round counts.
                await self.start()
                self._say(f"{self.spec.name} restarted")

    async def stop(self) -> None:
        """Stop it: `pre_stop`, the stop signal, and the kill signals when its time is up."""
        if self.pid is not None:
            self.state = State.STOPPING
            await self.spec.pre_stop()
            for number in (self.spec.stop_signal, self.spec.kill_signal, signal.SIGKILL):
                self._send(number)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.spec.stop_seconds):
                        await self._ended()
                        break
                self._say(f"{self.spec.name} did not stop within {self.spec.stop_seconds:.0f} s; killing it")
        self.state = State.STOPPED

    def kill(self) -> None:
        """Kill it; `stop` is still to be awaited."""
        self._send(self.spec.kill_signal)

    async def _is_ready(self) -> bool:
        if self._process is not None and self._process.returncode is not None:
            raise self._failed(f"ended while starting ({how_it_ended(self._process.returncode)})")
        return await self.spec.ready()

    async def _ended(self) -> str:
        """Wait until the process has ended, and return how."""
        if self._process is None:
            return "never started"
        code = await self._process.wait()
        self._register.remove(self.spec.name)
        return how_it_ended(code)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _failed(self, what: str) -> ProcessFailed:
        return ProcessFailed(process=self.spec.name, what=what, log=self.spec.command.log)
