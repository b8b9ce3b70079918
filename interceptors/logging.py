"""One structured line for every call, when it has ended."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import grpc

from interceptors.base import Interceptor
from services.shared.errors import DeadlinePassed

if TYPE_CHECKING:
    from interceptors.base import Call, Proceed

logger = logging.getLogger("azora.access")

OURS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}


class AccessLog(Interceptor):
    """Logs method, outcome, duration and caller's id: never a message, a token or an address of e-mail."""

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Log the call after it has ended, however it did."""
        started = time.perf_counter()
        try:
            await proceed()
        except asyncio.CancelledError:
            if call.context.time_remaining() == 0:  # gRPC cancels it for the client's deadline, too.
                call.status, call.reason = grpc.StatusCode.DEADLINE_EXCEEDED, DeadlinePassed.reason
            else:
                call.status = grpc.StatusCode.CANCELLED
            raise
        finally:
            principal = call.served.principal
            logger.log(
                _level(call),
                "rpc",
                extra={
                    "method": call.policy.path,
                    "status": call.status.name,
                    "reason": call.reason,
                    "milliseconds": round((time.perf_counter() - started) * 1000, 2),
                    "user_id": principal.user_id,
                    "caller": principal.service,
                    "address": principal.address,
                },
            )


def _level(call: Call) -> int:
    if call.status in OURS:
        return logging.ERROR
    # Health is asked every second by everyone: only what is out of the ordinary is worth a line.
    return logging.DEBUG if call.policy.tier is None and call.status is grpc.StatusCode.OK else logging.INFO
