"""Ends every call by its deadline: the client's, or the policy's if that is sooner."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from interceptors.base import Interceptor
from services.shared.errors import DeadlinePassed

if TYPE_CHECKING:
    from interceptors.base import Call, Proceed

MARGIN_SECONDS = 0.1
"""Time for the answer to reach the client. Envoy has counted since before the call arrived here."""


class Deadline(Interceptor):
    """Cancels a call that takes too long, its query and transaction with it; calls made for it get what is left."""

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
        loop, task, passed = asyncio.get_running_loop(), cast("asyncio.Task[None]", asyncio.current_task()), False

        def pass_now() -> None:
            nonlocal passed
            passed = True
            task.cancel()

        # As asyncio.timeout_at does, which costs a call three times as much.
        cancelling, call.served.deadline = task.cancelling(), loop.time() + seconds
        timer = loop.call_at(call.served.deadline, pass_now)
        try:
            await proceed()
        except asyncio.CancelledError:
            if not passed or task.uncancel() > cancelling:
                raise
            raise call.served.late or DeadlinePassed() from None
        finally:
            timer.cancel()
