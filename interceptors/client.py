"""The client interceptor of all calls between services: trace, request ID, deadline, typed errors."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import grpc
from azora import client
from grpc import aio
from opentelemetry.trace import INVALID_SPAN, SpanKind, set_span_in_context, use_span

from interceptors.tracing import PROPAGATOR, describe, rpc_attributes
from services.shared.errors import DeadlinePassed, DependencyUnavailable, Refused
from services.shared.principal import current_request, note_failed_dependency

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from opentelemetry.trace import Span, Tracer

logger = logging.getLogger(__name__)

MAX_CALL_SECONDS = 4.0
"""Two calls, one after the other, fit into the longest timeout of a method that makes any."""
MAX_STREAM_SECONDS = 60.0
"""A stream, which is passed on as fast as the caller's client reads."""
RETRY_AFTER_SECONDS = 1.0
VERDICTS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
}
"""What a service answers that looked at the request; any other code leaves open what happened."""


class OutgoingCalls(aio.UnaryUnaryClientInterceptor):
    """Makes a call part of the one being served: its trace, its request id, and what is left of its time.

    A call may ask for less time than `max_seconds`, never for more. Outside of a call (in a job) only that bound holds.
    With a tracer the call is a span. Raises Refused for a verdict of the other service, DependencyUnavailable for
    anything else that fails, DeadlinePassed if no time is left to call at all, Overloaded if a call of another service
    may not wait for a third one now. Of a method that keeps failing the first failure is logged.
    """

    def __init__(self, *, tracer: Tracer | None = None, max_seconds: float = MAX_CALL_SECONDS) -> None:
        self._tracer = tracer
        self._max_seconds = max_seconds
        self._failing: set[str] = set()
        """Methods whose last call failed."""

    async def intercept_unary_unary(
        self,
        continuation: Callable[[aio.ClientCallDetails, Any], Any],
        client_call_details: aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Make the call and await its response."""
        details = self.joined(client_call_details)
        try:
            if self._tracer is None:
                call = await _made(continuation, details, request)
            else:
                call = await _recorded(self._tracer, continuation, details, request)
        except aio.AioRpcError as error:
            raise self.failure(_path(details), error) from error
        self.succeeded(_path(details))
        return call

    def joined(self, details: aio.ClientCallDetails) -> aio.ClientCallDetails:
        """Return the details of a call with what the call being served gives it. Raises DeadlinePassed, Overloaded."""
        served = current_request()
        timeout = self._max_seconds if details.timeout is None else min(details.timeout, self._max_seconds)
        metadata = aio.Metadata(*(details.metadata or ()))
        if served is not None:
            timeout = served.remaining_seconds(timeout)
            if timeout <= 0:
                raise DeadlinePassed
            if served.before_waiting is not None:
                served.before_waiting()
            metadata["traceparent"] = served.traceparent
            if served.tracestate:
                metadata["tracestate"] = served.tracestate
            metadata["x-request-id"] = served.id
        return aio.ClientCallDetails(details.method, timeout, metadata, details.credentials, details.wait_for_ready)

    def succeeded(self, path: str) -> None:
        """Note that a method answers: its next failure is logged."""
        self._failing.discard(path)

    def failure(self, path: str, error: aio.AioRpcError) -> Refused | DependencyUnavailable:
        """Return what a failed call is raised as."""
        if error.code() in VERDICTS:
            self._failing.discard(path)
            info = client.error_info(error)
            return Refused(info.reason, error.code().name, info.metadata)
        note_failed_dependency()
        if path not in self._failing:
            # What polls it goes on, and so does the load: a log line for each call would fill disks, and say no more.
            self._failing.add(path)
            logger.warning("call to another service failed", extra={"called": path, "status": error.code().name})
        return DependencyUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS)


class OutgoingStreams(aio.UnaryStreamClientInterceptor):
    """Makes a call with a stream of responses part of the one being served, as OutgoingCalls does."""

    def __init__(self, *, tracer: Tracer | None = None, max_seconds: float = MAX_STREAM_SECONDS) -> None:
        self._tracer = tracer
        self._calls = OutgoingCalls(max_seconds=max_seconds)

    async def intercept_unary_stream(
        self,
        continuation: Callable[[aio.ClientCallDetails, Any], Any],
        client_call_details: aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Make the call. Iterating over its responses raises what OutgoingCalls does."""
        details = self._calls.joined(client_call_details)
        span: Span = INVALID_SPAN
        if self._tracer is not None:
            span = _start(self._tracer, details)
            PROPAGATOR.inject(details.metadata, set_span_in_context(span))
        return self._responses(_path(details), await continuation(details, request), span)

    async def _responses(self, path: str, call: Any, span: Span) -> AsyncIterator[Any]:
        try:
            async for response in call:
                yield response
        except aio.AioRpcError as error:
            _describe_failure(span, error)
            raise self._calls.failure(path, error) from error
        else:
            describe(span, grpc.StatusCode.OK, "", fault=False)
        finally:
            span.end()
        self._calls.succeeded(path)


async def _made(
    continuation: Callable[[aio.ClientCallDetails, Any], Any], details: aio.ClientCallDetails, request: Any
) -> Any:
    call = await continuation(details, request)
    await call
    return call


async def _recorded(
    tracer: Tracer,
    continuation: Callable[[aio.ClientCallDetails, Any], Any],
    details: aio.ClientCallDetails,
    request: Any,
) -> Any:
    span = _start(tracer, details)
    with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        PROPAGATOR.inject(details.metadata)
        try:
            call = await _made(continuation, details, request)
        except aio.AioRpcError as error:
            _describe_failure(span, error)
            raise
        describe(span, grpc.StatusCode.OK, "", fault=False)
        return call


def _start(tracer: Tracer, details: aio.ClientCallDetails) -> Span:
    method = _path(details)[1:]
    return tracer.start_span(method, kind=SpanKind.CLIENT, attributes=rpc_attributes(method))


def _describe_failure(span: Span, error: aio.AioRpcError) -> None:
    describe(span, error.code(), client.error_reason(error), fault=error.code() not in VERDICTS)


def _path(details: aio.ClientCallDetails) -> str:
    method: str | bytes = details.method
    return method.decode() if isinstance(method, bytes) else method
