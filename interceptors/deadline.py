"""Ends every call by its deadline: the client's, or the policy's if that is sooner."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from interceptors.base import Call, Interceptor
from services.shared.errors import DeadlinePassed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Deadline(Interceptor):
    """Cancels a call that takes too long, its query and transaction with it; calls made for it get what is left."""

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """Run the call under its deadline."""
        remaining: float | None = call.context.time_remaining()
        seconds = min(call.policy.timeout_seconds, remaining if remaining is not None else call.policy.timeout_seconds)
        call.served.deadline = asyncio.get_running_loop().time() + seconds
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlinePassed from None
