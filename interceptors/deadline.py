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


def _rounded(now: float, seconds: float) -> float:
    if seconds > FAR_SECONDS:
        return math.floor((now + seconds) / FAR_TICK_SECONDS) * FAR_TICK_SECONDS
    return math.ceil((now + seconds) / TICK_SECONDS) * TICK_SECONDS


class _Tick:
    """A deadline of the calls that are being served."""

    __slots__ = ("passed", "tasks")

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.passed = False

    def expire(self) -> None:
        """Cancel the calls."""
        self.passed = True
        for task in self.tasks:
            task.cancel()


class Deadline(Interceptor):
    """Cancels a call that takes too long, its query and transaction with it; calls made for it get what is left.

    One of these serves one event loop.
    """

    def __init__(self) -> None:
        self._ticks: dict[float, _Tick] = {}
        """The deadlines ahead, by the event loop's clock."""

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Run the call under its deadline.

        Raises DeadlinePassed, at once where it had passed before the call began; or what was waited for until then.
        """
        remaining: float | None = call.context.time_remaining()
        seconds = call.policy.timeout_seconds
        if remaining is not None:
            if remaining <= 0:
                raise DeadlinePassed
            seconds = min(seconds, remaining)
        # A little before the client, or Envoy, stops listening, so that it hears why.
        seconds = max(seconds - MARGIN_SECONDS, seconds / 2)
        loop, task = asyncio.get_running_loop(), cast("asyncio.Task[None]", asyncio.current_task())
        cancelling, deadline = task.cancelling(), _rounded(loop.time(), seconds)
        call.served.deadline = deadline
        tick = self._ticks.get(deadline) or self._schedule(deadline, loop)
        tick.tasks.add(task)
        try:
            await proceed()
        except asyncio.CancelledError:  # As asyncio.timeout_at has it.
            if not tick.passed or task.uncancel() > cancelling:
                raise
            raise call.served.late or DeadlinePassed() from None
        finally:
            tick.tasks.discard(task)

    def _schedule(self, deadline: float, loop: asyncio.AbstractEventLoop) -> _Tick:
        tick = self._ticks[deadline] = _Tick()
        # In a context of its own: that of the first call would hold what belongs to the call.
        loop.call_at(deadline, self._expire, deadline, context=Context())
        return tick

    def _expire(self, deadline: float) -> None:
        self._ticks.pop(deadline).expire()
