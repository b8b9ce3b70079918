"""The error of a failed call: grpc's own, with what Azora's status says of it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

if TYPE_CHECKING:
    from collections.abc import Iterator

STATUS_DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Violation:
    """An invalid field of a request: its path in the request's JSON, what is wrong with it, and the violated rule."""

    field: str
    description: str
    reason: str


class CallError(aio.AioRpcError):
    """A call failed. Raised by asynchronous and blocking stubs alike; `except grpc.RpcError` catches it, too.

    `code()`, `details()` and the metadata are those of grpc.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        initial_metadata: aio.Metadata | None = None,
        trailing_metadata: aio.Metadata | None = None,
        details: str | None = None,
        debug_error_string: str | None = None,
    ) -> None:
        super().__init__(code, initial_metadata, trailing_metadata, details, debug_error_string)
        self.status: status_pb2.Status = _status(trailing_metadata)
        """The google.rpc.Status with all its details; empty where no server answered."""
        info = detail(self.status, error_details_pb2.ErrorInfo)
        bad = detail(self.status, error_details_pb2.BadRequest)
        retry = detail(self.status, error_details_pb2.RetryInfo)
        self.reason: str = info.reason
        """The reason, as in error_reason.proto: "INSUFFICIENT_FUNDS". Empty where no server answered."""
        self.metadata: dict[str, str] = dict(info.metadata)
        """The metadata that error_reason.proto lists with the reason."""
        self.violations = tuple(Violation(each.field, each.description, each.reason) for each in bad.field_violations)
        """The request's invalid fields."""
        self.retry_after_seconds: float | None = (
            retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None
        )
        """How long to wait before another attempt; None where the server does not say."""

    @classmethod
    def of(cls, error: grpc.RpcError) -> CallError:
        """Return what grpc raised as a CallError, for calls through other channels than those of this package."""
        if isinstance(error, cls):
            return error
        failed: Any = error
        initial, trailing = failed.initial_metadata() or (), failed.trailing_metadata() or ()
        return cls(
            failed.code(),
            aio.Metadata(*initial),
            aio.Metadata(*trailing),
            failed.details(),
            failed.debug_error_string(),
        )

    def __repr__(self) -> str:
        return f"<CallError {self}>"

    def __str__(self) -> str:
        text = f"{self.code().name} {self.reason}".rstrip() + f": {self.details()}"
        return "; ".join((text, *(f"{each.field}: {each.description}" for each in self.violations)))


@contextmanager
def typed_errors() -> Iterator[None]:
    """Raise grpc's errors of the block as CallErrors."""
    try:
        yield
    except grpc.RpcError as error:
        if isinstance(error, aio.AioRpcError | grpc.Call):
            raise CallError.of(error) from None
        raise  # An interceptor's own.


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    """Return the ErrorInfo of a failed call: its reason, and its metadata; an empty one where the answer has none."""
    return detail(CallError.of(error).status, error_details_pb2.ErrorInfo)


def error_reason(error: grpc.RpcError) -> str:
    """Return the reason of a failed call through any channel; an empty string where the answer has none."""
    return CallError.of(error).reason


def detail(status: status_pb2.Status, kind: Any) -> Any:
    """Return the status's detail of a type; an empty one where it has none."""
    found = kind()
    next((each for each in status.details if each.Unpack(found)), None)
    return found


def _status(trailing_metadata: aio.Metadata | None) -> status_pb2.Status:
    value = dict(trailing_metadata or ()).get(STATUS_DETAILS)
    try:
        return status_pb2.Status.FromString(value) if isinstance(value, bytes) else status_pb2.Status()
    except DecodeError:
        return status_pb2.Status()
