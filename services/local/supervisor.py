"""Starts the parts stage by stage, keeps them running, and stops them in the opposite order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.local.part import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.local.leftovers import Register
    from services.local.part import Plan


class Supervisor:
    """The parts of one system."""

    def __init__(self, register: Register, say: Callable[[str], None]) -> None:
        self._register = register
        self._say = say
        self._stages: list[list[Part]] = []

    async def start(self, plans: Sequence[Plan], keepers: asyncio.TaskGroup) -> None:
        """Start the parts of the next stage together, and keep each in a task of the group. Raises PartFailed.

        A part that cannot be kept ends the group.
        """
        stage = [Part(plan, self._register, self._say) for plan in plans]
        self._stages.append(stage)
        async with asyncio.TaskGroup() as starts:
            for part in stage:
                starts.create_task(part.start())
        for part in stage:
            keepers.create_task(part.keep())

    async def stop(self) -> None:
        """Stop all parts, the last started first, whatever happened before; nobody keeps them any more."""
        for stage in reversed(self._stages):
            await asyncio.gather(*(part.stop() for part in stage))

    def kill(self) -> None:
        """End all parts at once; `stop` is still to be awaited."""
        for stage in self._stages:
            for part in stage:
                part.kill()
