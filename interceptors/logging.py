"""One structured line for every call, when it has ended."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import grpc

from interceptors.base import OK, Interceptor
from services.shared.errors import DeadlinePassed

if TYPE_CHECKING:
    from interceptors.base import Call, Proceed

logger = logging.getLogger("azora.access")

OURS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}
BLANK = vars(logging.makeLogRecord({"name": logger.name, "msg": "rpc", "process": None, "thread": None}))


class AccessRecord(logging.LogRecord):
    """A record of nothing but `fields`. What logging gathers for other records costs more than all of the line."""

    def __init__(self, level: int, fields: dict[str, Any]) -> None:
        self.__dict__ = BLANK | {
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "created": time.time(),
            "fields": fields,
        }


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
            level = _level(call)
            if logger.isEnabledFor(level):
                logger.handle(AccessRecord(level, _fields(call, time.perf_counter() - started)))


def _fields(call: Call, seconds: float) -> dict[str, Any]:
    served, principal = call.served, call.served.principal
    fields: dict[str, Any] = {
        "message": "rpc",
        "method": call.policy.path,
        "status": "OK" if call.status is OK else call.status.name,
        "milliseconds": round(seconds * 1000, 2),
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
