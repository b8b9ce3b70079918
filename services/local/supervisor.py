"""Starts processes stage by stage, keeps them running, and stops them in the opposite order."""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import TYPE_CHECKING

from services.local.supervised import SupervisedProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.local.orphans import Register
    from services.local.supervised import ProcessSpec


class Stage(IntEnum):
    """Groups of processes, in the order in which they depend on each other."""

    DATABASE = 1
    GATEWAY = 2
    """Receives the traces of the services, the last of them when they stop."""
    SERVICES = 3
    EDGE = 4


class Supervisor:
    """The processes of one system."""

    def __init__(self, register: Register, say: Callable[[str], None]) -> None:
        self.changed: Callable[[], None] = lambda: None
        """Called when a process has ended and when it is back."""
        self._register = register
        self._say = say
        self._stages: dict[Stage, list[SupervisedProcess]] = {stage: [] for stage in Stage}

    @property
    def processes(self) -> tuple[SupervisedProcess, ...]:
        """All processes, in the order of their stages."""
        return tuple(process for stage in Stage for process in self._stages[stage])

    async def start(self, stage: Stage, specs: Sequence[ProcessSpec], watchers: asyncio.TaskGroup) -> None:
        """Start processes of a stage together, each watched by a task of the group. Raises ProcessFailed.

        A process that keeps failing ends the group.
        """
        started = [self._supervised(spec) for spec in specs]
        self._stages[stage] += started
        async with asyncio.TaskGroup() as starts:
            for process in started:
                starts.create_task(process.start())
        for process in started:
            watchers.create_task(process.watch())

    def live(self, upstream: str) -> list[str]:
        """Return the addresses of an upstream's replicas that have not ended; of all, when none is left.

        The last ones stay known, so that their return is noticed by whoever asks them.
        """
        replicas = [process for process in self.processes if upstream in process.spec.addresses]
        left = [process for process in replicas if not process.ended]
        return [process.spec.addresses[upstream] for process in left or replicas]

    def _supervised(self, spec: ProcessSpec) -> SupervisedProcess:
        return SupervisedProcess(
            spec,
            self._register,
            self._say,
            changed=self._report_change,
            dispensable=lambda: any(not replica.failing for replica in self._other_replicas(spec)),
        )

    def _other_replicas(self, spec: ProcessSpec) -> list[SupervisedProcess]:
        """Return the processes beside that of the spec that do the same work."""
        shared = spec.addresses.keys()
        return [
            process
            for process in self.processes
            if process.spec.name != spec.name and not shared.isdisjoint(process.spec.addresses)
        ]

    def _report_change(self) -> None:
        self.changed()

    async def stop(self) -> None:
        """Stop all processes, the last stage first. Their watchers have ended before."""
        for stage in reversed(Stage):
            await asyncio.gather(*(process.stop() for process in self._stages[stage]))

    def kill(self) -> None:
        """Kill all processes; `stop` is still to be awaited."""
        for process in self.processes:
            process.kill()
