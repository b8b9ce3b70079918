"""Ends every call by its deadline: the client's, or the policy's if that is sooner."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from interceptors.base import Call, Interceptor
from services.shared.errors import DeadlinePassed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


MARGIN_SECONDS = 0.05


class Deadline(Interceptor):
    """Cancels a call that takes too long, its query and transaction with it; calls made for it get what is left."""

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Run the call under its deadline."""
        remaining: float | None = call.context.time_remaining()
        seconds = call.policy.timeout_seconds
        if remaining is not None:
            # A little before the client stops listening, so that it hears why.
            seconds = min(seconds, max(remaining - MARGIN_SECONDS, remaining / 2))
        call.served.deadline = asyncio.get_running_loop().time() + seconds
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlinePassed from None
