"""Joins every call to its trace: the edge's request id, the W3C trace context, and a span where spans are recorded."""

from __future__ import annotations

import re
import uuid
from random import getrandbits
from typing import TYPE_CHECKING

import grpc
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from interceptors.base import Interceptor
from services.shared.principal import serve_request

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext, Tracer

    from interceptors.base import Call, Proceed

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
MAX_KEY_CHARACTERS = 1024
"""Only a bound on what is kept: validation refuses keys above its own, smaller limit."""
MAX_USER_AGENT_CHARACTERS = 512
MAX_TRACESTATE_CHARACTERS = 512
"""What W3C Trace Context asks everyone to pass on; of more, nothing is."""
PROPAGATOR = TraceContextTextMapPropagator()
FAULTS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
"""Codes that are errors of a server (OpenTelemetry's semantic conventions for gRPC); the others are the client's."""


class Tracing(Interceptor):
    """Names the call, and makes its `Request` the current one of its task. A malformed trace context is replaced.

    Without a tracer the context is passed on as it came, which costs a twentieth of what OpenTelemetry's own
    propagation does. gRPC's own methods, which are asked every second, have no spans.
    """

    def __init__(self, tracer: Tracer | None = None) -> None:
        self._tracer = tracer

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Read the headers that name the call; with a tracer, make a span that lasts as long as the call."""
        served, headers = call.served, call.headers
        request_id = headers.get("x-request-id", "")
        served.id = request_id if REQUEST_ID.fullmatch(request_id) else str(uuid.uuid4())
        served.idempotency_key = headers.get("idempotency-key", "")[:MAX_KEY_CHARACTERS]
        served.user_agent = headers.get("user-agent", "")[:MAX_USER_AGENT_CHARACTERS]
        serve_request(served)
        if self._tracer is None or call.policy.tier is None:
            _pass_on(call)
            await proceed()
        else:
            await _record(self._tracer, call, proceed)


def traceparent(context: SpanContext) -> str:
    """Return the W3C header of a span."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def rpc_attributes(method: str) -> dict[str, str]:
    """Return the attributes of a span of an RPC. `method` is its gRPC path without the first slash."""
    return {"rpc.system.name": "grpc", "rpc.method": method}


def describe(span: Span, code: grpc.StatusCode, reason: str, *, fault: bool) -> None:
    """Note how an RPC ended; only a fault is an error of the span."""
    span.set_attribute("rpc.response.status_code", code.name)
    if reason:
        span.set_attribute("azora.error.reason", reason)
    if fault:
        span.set_attribute("error.type", code.name)
        span.set_status(Status(StatusCode.ERROR))


def _pass_on(call: Call) -> None:
    header, served = call.value("traceparent"), call.served
    if TRACEPARENT.fullmatch(header):
        served.traceparent = header
        state = call.headers.get("tracestate")
        if isinstance(state, str) and len(state) <= MAX_TRACESTATE_CHARACTERS:
            served.tracestate = state
    else:
        served.traceparent = f"00-{getrandbits(128):032x}-{getrandbits(64):016x}-00"


async def _record(tracer: Tracer, call: Call, proceed: Proceed) -> None:
    path, served = call.policy.path[1:], call.served
    context = PROPAGATOR.extract(call.headers, Context())
    attributes = rpc_attributes(path) | {"azora.request.id": served.id}
    span = tracer.start_span(path, context, SpanKind.SERVER, attributes)
    served.traceparent = traceparent(span.get_span_context())
    token = attach(set_span_in_context(span, context))
    try:
        await proceed()
    finally:
        detach(token)
        describe(span, call.status, call.reason, fault=call.status in FAULTS)
        span.end()
