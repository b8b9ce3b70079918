"""Ends every call by its deadline: the client's, or the policy's if that is sooner."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

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
        call.served.deadline = asyncio.get_running_loop().time() + seconds
        limit = asyncio.timeout_at(call.served.deadline)
        try:
            async with limit:
                await proceed()
        except TimeoutError:
            if not limit.expired():
                raise
            raise call.served.late or DeadlinePassed() from None
