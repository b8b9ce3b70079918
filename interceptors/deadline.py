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
        call.served.deadline = asyncio.get_running_loop().time() + seconds
        limit = asyncio.timeout_at(call.served.deadline)
        try:
            async with limit:
                await proceed()
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlinePassed from None
