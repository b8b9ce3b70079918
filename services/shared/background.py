"""Background tasks of a process, supervised: what ends unexpectedly is logged and started again."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from services.shared.backoff import backoff_seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

logger = logging.getLogger(__name__)

STABLE_SECONDS = 60.0
"""A task that ran this long before it crashed starts a new series of crashes."""
MAX_CRASHES = 3
"""Crashes in a series from which the process is unhealthy."""
MAX_RESTART_SECONDS = 30.0


class Background:
    """Runs tasks that are meant to run for as long as the process does.

    A task that raises, or returns, is logged as an error and restarted with exponential backoff. One that keeps
    crashing makes `healthy` false, so that the server can say NOT_SERVING.
    """

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._crashes: dict[int, tuple[int, float]] = {}
        """For each task that crashed: how often in a series, and when last."""

    def start(
        self,
        name: str,
        work: Callable[[], Coroutine[Any, Any, None]],
        *,
        crashed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Run `work` until `stop`; `crashed` is called after each crash, before the restart."""
        supervised = self._supervise(len(self._tasks), name, work, crashed)
        self._tasks.append(asyncio.create_task(supervised, name=name))

    @property
    def healthy(self) -> bool:
        """Whether no task crashed several times in a row, the last time within a minute."""
        now = asyncio.get_running_loop().time()
        return not any(
            crashes >= MAX_CRASHES and now - last < STABLE_SECONDS for crashes, last in self._crashes.values()
        )

    async def stop(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _supervise(
        self,
        number: int,
        name: str,
        work: Callable[[], Coroutine[Any, Any, None]],
        crashed: Callable[[], Awaitable[None]] | None,
    ) -> None:
        while True:
            started = asyncio.get_running_loop().time()
            await self._run(name, work)
            crashes = self._count(number, started)
            if crashed is not None:
                await self._run(name, crashed, restarts=False)
            await asyncio.sleep(backoff_seconds(crashes, max_seconds=MAX_RESTART_SECONDS))

    async def _run(self, name: str, work: Callable[[], Awaitable[None]], *, restarts: bool = True) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            logger.exception("background task was cancelled from within; restarting", extra={"task": name})
        except Exception:
            logger.exception("background task crashed; restarting", extra={"task": name})
        else:
            if restarts:
                logger.error("background task returned; restarting", extra={"task": name})

    def _count(self, number: int, started: float) -> int:
        now = asyncio.get_running_loop().time()
        before = 0 if now - started >= STABLE_SECONDS else self._crashes.get(number, (0, now))[0]
        self._crashes[number] = (before + 1, now)
        return before + 1
