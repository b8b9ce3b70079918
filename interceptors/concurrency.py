"""Bounds how many calls are served at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptors.base import Interceptor
from services.shared.errors import Overloaded

if TYPE_CHECKING:
    from interceptors.base import Call, Proceed
    from services.shared.policy import MethodPolicy

RETRY_AFTER_SECONDS = 1.0


class ConcurrencyLimit(Interceptor):
    """Refuses calls while as many as allowed are being served.

    gRPC's own limit refuses health checks too, so that a busy process is taken for a dead one and all of its calls
    fail; and its refusals have no ErrorInfo and are in no log. Health and metrics are outside of this one, and so are
    watches, which wait most of the time and have bounds of their own.
    """

    def __init__(self, max_concurrent_rpcs: int) -> None:
        self._max = max_concurrent_rpcs
        self._serving = 0

    def applies(self, policy: MethodPolicy) -> bool:
        """Whether it is neither a watch, a check of health nor the metrics; a watch of health takes a place."""
        return not policy.watch and (policy.tier is not None or policy.server_streaming)

    async def around(self, _call: Call, proceed: Proceed) -> None:
        """Serve the call if there is room. Raises Overloaded."""
        if self._serving >= self._max:
            raise Overloaded(retry_after_seconds=RETRY_AFTER_SECONDS)
        self._serving += 1
        try:
            await proceed()
        finally:
            self._serving -= 1
