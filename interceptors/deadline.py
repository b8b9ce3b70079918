"""Ends every call by its deadline: the client's, or the policy's if that is sooner."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from interceptors.base import Interceptor
from services.shared.errors import DeadlinePassed

if TYPE_CHECKING:
    from interceptors.base import Call, Proceed

MARGIN_SECONDS = 0.05


class Deadline(Interceptor):
    """Cancels a call that takes too long, its query and transaction with it; calls made for it get what is left."""

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Run the call under its deadline. Raises DeadlinePassed, at once where it had passed before the call began."""
        remaining: float | None = call.context.time_remaining()
        seconds = call.policy.timeout_seconds
        if remaining is not None:
            if remaining <= 0:
                raise DeadlinePassed
            # A little before the client stops listening, so that it hears why.
            seconds = min(seconds, max(remaining - MARGIN_SECONDS, remaining / 2))
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type alone: every call is served in a task
        expired, cancellations = False, task.cancelling()

        def expire() -> None:
            nonlocal expired
            expired = True
            task.cancel()

        # As asyncio.timeout_at does, for a third of its time.
        call.served.deadline = loop.time() + seconds
        timer = loop.call_at(call.served.deadline, expire)
        try:
            await proceed()
        except asyncio.CancelledError:
            if expired and task.cancelling() == cancellations + 1:  # By nobody else.
                raise DeadlinePassed from None
            raise
        finally:
            timer.cancel()
            if expired:
                task.uncancel()
