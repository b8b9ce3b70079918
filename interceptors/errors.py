"""The only place that knows which gRPC status an error becomes, and the only one that aborts a call."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc import aio
from grpc_status import rpc_status

from interceptors.base import Interceptor
from services.shared import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.message import Message

    from interceptors.base import Call, Proceed

logger = logging.getLogger(__name__)

MAX_VIOLATIONS = 25
MAX_STATUS_BYTES = 4096
"""Exclusive. A status travels in the trailers, which gRPC bounds at 8 KB; far more ends the whole connection."""
MAX_TEXT_BYTES = 512
MAX_WRITE_SECONDS = 1.0
MAX_VIOLATION_TEXT_BYTES = 200
MAX_METADATA_BYTES = 2048
NO_CLIENT_RETRY = ("grpc-retry-pushback-ms", "-1")
"""Ends the retries of gRPC clients (gRFC A6): Envoy has made them already, and each of theirs would be four of its."""
TRANSCODED = "x-envoy-original-path"
"""A header of requests that came as JSON. Clients cannot send it."""

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
    """Return the google.rpc.Status of an error: ErrorInfo always, other details where they fit (AIP-193).

    Its size is bounded, whatever the error holds: texts are cut, and of too many violations the first are listed, their
    number standing in the ErrorInfo's metadata as `violationCount`.
    """
    status = status_pb2.Status(code=getattr(code_pb2, code_of(error).name), message=_cut(error.message))
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=errors.DOMAIN, metadata=_bounded(error.metadata))
    later: list[Message] = []
    if error.retry_after_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        later.append(error_details_pb2.RetryInfo(retry_delay=delay))
    room_bytes = MAX_STATUS_BYTES - MAX_TEXT_BYTES
    room_bytes -= status.ByteSize() + info.ByteSize() + sum(detail.ByteSize() for detail in later)
    if error.violations:
        bad = _bad_request(error.violations, room_bytes)
        if len(bad.field_violations) < len(error.violations):
            info.metadata["violationCount"] = str(len(error.violations))
        later.insert(0, bad)
    elif error.preconditions:
        failure = _precondition_failure(error.preconditions, room_bytes)
        if len(failure.violations) < len(error.preconditions):
            info.metadata["violationCount"] = str(len(error.preconditions))
        later.insert(0, failure)
    for detail in (info, *later):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def code_of(error: errors.DomainError) -> grpc.StatusCode:
    """Return the gRPC code of an error's kind."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def _bad_request(violations: Sequence[errors.FieldViolation], room_bytes: int) -> error_details_pb2.BadRequest:
    bad = error_details_pb2.BadRequest()
    for violation in violations[:MAX_VIOLATIONS]:
        listed = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(violation.field, MAX_VIOLATION_TEXT_BYTES),
            description=_cut(violation.description, MAX_VIOLATION_TEXT_BYTES),
            reason=_cut(violation.reason, MAX_VIOLATION_TEXT_BYTES),
        )
        if bad.ByteSize() + listed.ByteSize() > room_bytes:
            break
        bad.field_violations.append(listed)
    return bad


def _precondition_failure(
    violations: Sequence[errors.PreconditionViolation], room_bytes: int
) -> error_details_pb2.PreconditionFailure:
    failure = error_details_pb2.PreconditionFailure()
    for violation in violations[:MAX_VIOLATIONS]:
        listed = error_details_pb2.PreconditionFailure.Violation(
            type=_cut(violation.type, MAX_VIOLATION_TEXT_BYTES),
            subject=_cut(violation.subject, MAX_VIOLATION_TEXT_BYTES),
            description=_cut(violation.description, MAX_VIOLATION_TEXT_BYTES),
        )
        if failure.ByteSize() + listed.ByteSize() > room_bytes:
            break
        failure.violations.append(listed)
    return failure


def _bounded(metadata: Mapping[str, str]) -> dict[str, str]:
    bounded: dict[str, str] = {}
    room_bytes = MAX_METADATA_BYTES
    for name, value in metadata.items():
        name, value = _cut(name), _cut(value)  # noqa: PLW2901 - the cut ones are what counts
        room_bytes -= len(name.encode()) + len(value.encode()) + 8
        if room_bytes < 0:
            break
        bounded[name] = value
    return bounded


def _cut(text: str, max_bytes: int = MAX_TEXT_BYTES) -> str:
    if len(text) * 4 <= max_bytes:  # Whatever its characters are.
        return text
    return text.encode(errors="replace")[:max_bytes].decode(errors="ignore")


async def _answer(call: Call, error: errors.DomainError) -> None:
    """Abort with a trailers-only answer: what was sent before it would hide a refusal from everyone's retries.

    Just that is done where a service behind this one is unavailable: the call to it was tried again on its way there,
    and were each of four attempts of this call to make four of those, it would be asked sixteen times. And where the
    database does not answer, which four attempts would only find out four times.

    Of a watch that has begun the last message says it first: JSON clients never see the status of a stream.
    """
    call.status, call.reason = code_of(error), error.reason
    headers = dict(call.served.initial_metadata)
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after_seconds))
    if call.begun and call.policy.watched is not None:
        await _write(call, GetMessageClass(call.policy.watched)(error=to_status(error)))
    if call.status is grpc.StatusCode.UNAVAILABLE and not call.begun:
        if call.served.dependency_failed:
            await call.context.send_initial_metadata(tuple(headers.items()))
        if TRANSCODED not in call.headers:
            headers |= dict([NO_CLIENT_RETRY])
    status: Any = rpc_status.to_status(to_status(error))
    await call.context.abort(status.code, status.details, (*status.trailing_metadata, *headers.items()))


async def _write(call: Call, message: Message) -> None:
    """Write the last message of a watch, unless its reader is too slow to be told."""
    try:
        async with asyncio.timeout(MAX_WRITE_SECONDS):
            await call.context.write(message)
    except (TimeoutError, aio.BaseError):
        pass
