"""One structured line for every call, when it has ended."""

from __future__ import annotations

import asyncio
import logging
import time
from contextvars import Context
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import finalize

import grpc

from interceptors.base import OK, Interceptor
from services.shared.errors import DeadlinePassed

if TYPE_CHECKING:
    from interceptors.base import Call, Proceed
    from services.shared.principal import Request

logger = logging.getLogger("azora.access")

GATHERING_SECONDS = 0.01
"""Delay of the lines, so that many are written at once. A process that is killed loses those that wait."""
OURS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}


class _Ended(NamedTuple):
    """A call that has ended."""

    level: int
    time: float
    path: str
    status: str
    reason: str
    seconds: float
    served: Request


class AccessLog(Interceptor):
    """Logs method, outcome, duration and caller's id: never a message, a token or an address of e-mail.

    Lines are gathered for a moment, as proxies do: a line that is made and written by itself costs four times as much.
    One of these serves one event loop.
    """

    def __init__(self) -> None:
        self._ended: list[_Ended] = []
        finalize(self, _log, self._ended)  # At the end of the process, too.

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Log the call after it has ended, however it did."""
        try:
            await proceed()
        except asyncio.CancelledError:
            if call.context.time_remaining() == 0:  # gRPC cancels it for the client's deadline, too.
                call.status, call.reason = grpc.StatusCode.DEADLINE_EXCEEDED, DeadlinePassed.reason
            else:
                call.status = grpc.StatusCode.CANCELLED
            raise
        finally:
            level = _level(call)
            if logger.isEnabledFor(level):
                seconds = time.perf_counter() - call.started
                self._ended.append(
                    _Ended(level, time.time(), call.policy.path, call.status_name, call.reason, seconds, call.served)
                )
                if len(self._ended) == 1:
                    loop = asyncio.get_running_loop()
                    loop.call_later(GATHERING_SECONDS, _log, self._ended, context=Context())


def _log(ended: list[_Ended]) -> None:
    calls, ended[:] = ended[:], []  # First: whatever fails, the next call begins anew.
    if calls:
        logger.log(max(call.level for call in calls), "rpc", extra={"lines": [_line(call) for call in calls]})


def _line(call: _Ended) -> dict[str, Any]:
    served, principal = call.served, call.served.principal
    fields: dict[str, Any] = {
        "time": datetime.fromtimestamp(call.time, UTC),
        "level": logging.getLevelName(call.level),
        "message": "rpc",
        "method": call.path,
        "status": call.status,
        "milliseconds": round(call.seconds * 1000, 2),
        "request_id": served.id,
        "trace_id": served.trace_id,
    }
    if call.reason:
        fields["reason"] = call.reason
    if principal.user_id:
        fields["user_id"] = principal.user_id
    if principal.service:
        fields["caller"] = principal.service
    if principal.address:
        fields["address"] = principal.address
    return fields


def _level(call: Call) -> int:
    if call.status is OK:
        # Health is asked every second by everyone: only what is out of the ordinary is worth a line.
        return logging.DEBUG if call.policy.tier is None else logging.INFO
    return logging.ERROR if call.status in OURS else logging.INFO
