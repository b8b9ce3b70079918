"""Ends every call by its deadline: the client's, or the policy's if that is sooner."""

from __future__ import annotations

import asyncio
import math
from contextvars import Context
from typing import TYPE_CHECKING, cast

from interceptors.base import Interceptor
from services.shared.errors import DeadlinePassed

if TYPE_CHECKING:
    from interceptors.base import Call, Proceed

MARGIN_SECONDS = 0.1
"""Time for the answer to reach the client. Envoy has counted since before the call arrived here."""
TICK_SECONDS = 0.02
"""Deadlines within it pass together, at its end: a timer of the event loop for each call costs three times as much."""
FAR_SECONDS = 60.0
FAR_TICK_SECONDS = 1.0
"""The tick of deadlines that are further away, and pass at its beginning: its timer stays when its calls have ended."""


def _tick(now: float, seconds: float) -> float:
    if seconds > FAR_SECONDS:
        return math.floor((now + seconds) / FAR_TICK_SECONDS) * FAR_TICK_SECONDS
    return math.ceil((now + seconds) / TICK_SECONDS) * TICK_SECONDS


class _Running:
    """A call that is being served."""

    __slots__ = ("passed", "task")

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.passed = False


class Deadline(Interceptor):
    """Cancels a call that takes too long, its query and transaction with it; calls made for it get what is left.

    One of these serves one event loop.
    """

    def __init__(self) -> None:
        self._due: dict[float, set[_Running]] = {}
        """The calls that are being served, by their deadline."""

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Run the call under its deadline.

        Raises DeadlinePassed, at once where it had passed before the call began; or what was waited for until then.
        """
        remaining: float | None = call.context.time_remaining()
        seconds = call.policy.timeout_seconds
        if remaining is not None:
            seconds = min(seconds, remaining)
            if seconds <= 0:
                raise DeadlinePassed
        # A little before the client, or Envoy, stops listening, so that it hears why.
        seconds = max(seconds - MARGIN_SECONDS, seconds / 2)
        loop, task = asyncio.get_running_loop(), cast("asyncio.Task[None]", asyncio.current_task())
        cancelling, call.served.deadline = task.cancelling(), _tick(loop.time(), seconds)
        running, due = _Running(task), self._due_at(call.served.deadline, loop)
        due.add(running)
        try:
            await proceed()
        except asyncio.CancelledError:  # As asyncio.timeout_at has it.
            if not running.passed or task.uncancel() > cancelling:
                raise
            raise call.served.late or DeadlinePassed() from None
        finally:
            due.discard(running)

    def _due_at(self, deadline: float, loop: asyncio.AbstractEventLoop) -> set[_Running]:
        due = self._due.get(deadline)
        if due is None:
            due = self._due[deadline] = set()
            # In a context of its own: that of the first call would hold what belongs to the call.
            loop.call_at(deadline, self._pass, deadline, context=Context())
        return due

    def _pass(self, deadline: float) -> None:
        for running in self._due.pop(deadline):
            running.passed = True
            running.task.cancel()
