"""How calls fail, as a client sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.rpc import error_details_pb2
from grpc import aio
from grpc_status import rpc_status

if TYPE_CHECKING:
    from collections.abc import Awaitable

DOMAIN = "azora.dev"


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a call failed."""

    code: str
    reason: str
    metadata: dict[str, str]
    fields: tuple[str, ...]
    """The fields that broke a rule."""
    retry_after_seconds: float
    """When to come again; 0 where nothing says so."""


async def refusal(call: Awaitable[object]) -> Refusal:
    """Await a call that must fail, and return how it did."""
    try:
        answer = await call
    except aio.AioRpcError as error:
        return described(error)
    raise AssertionError(f"answered {answer}")


def described(error: aio.AioRpcError) -> Refusal:
    """Return what a failed call's status says."""
    status: Any = rpc_status.from_call(error)  # type: ignore[arg-type]
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in status.details:
        for kind in (info, bad, retry):
            detail.Unpack(kind)
    assert info.domain == DOMAIN
    fields = tuple(violation.field for violation in bad.field_violations)
    seconds = retry.retry_delay.ToTimedelta().total_seconds()
    return Refusal(error.code().name, info.reason, dict(info.metadata), fields, seconds)


async def outcome(call: Awaitable[object]) -> str:
    """Await a call; return "OK", or the reason of its refusal."""
    try:
        await call
    except aio.AioRpcError as error:
        return described(error).reason
    return "OK"
