"""The only place that knows which gRPC status an error becomes, and the only one that aborts a call."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from interceptors.base import Interceptor
from services.shared import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from interceptors.base import Call, Proceed

logger = logging.getLogger(__name__)

CODES: dict[type[errors.DomainError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Internal: grpc.StatusCode.INTERNAL,
}


class Errors(Interceptor):
    """Answers typed errors with their rich status; anything else with INTERNAL, its traceback in the log alone."""

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Abort the call with the status of what was raised."""
        try:
            await proceed()
        except errors.DomainError as error:
            await _answer(call, error)
        except Exception:  # The border: whatever it is, its text stays here.
            logger.exception("unhandled error in %s", call.policy.path)
            await _answer(call, errors.InternalError(request_id=call.served.id))


def to_status(error: errors.DomainError) -> status_pb2.Status:
    """Return the google.rpc.Status of an error: ErrorInfo always, other details where they fit (AIP-193)."""
    code = code_of(error)
    status = status_pb2.Status(code=getattr(code_pb2, code.name), message=error.message)
    for detail in _details(error):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def code_of(error: errors.DomainError) -> grpc.StatusCode:
    """Return the gRPC code of an error's kind."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def _details(error: errors.DomainError) -> Iterator[Message]:
    yield error_details_pb2.ErrorInfo(reason=error.reason, domain=errors.DOMAIN, metadata=error.metadata)
    if error.violations:
        yield error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(
                    field=violation.field, description=violation.description, reason=violation.reason
                )
                for violation in error.violations
            ]
        )
    if error.retry_after_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        yield error_details_pb2.RetryInfo(retry_delay=delay)


async def _answer(call: Call, error: errors.DomainError) -> None:
    """Abort with a trailers-only answer: what was sent before it would hide a refusal from everyone's retries."""
    call.status, call.reason = code_of(error), error.reason
    headers = dict(call.served.initial_metadata)
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after_seconds))
    status: Any = rpc_status.to_status(to_status(error))
    await call.context.abort(status.code, status.details, (*status.trailing_metadata, *headers.items()))
