"""The last 500 traces of requests, received over OTLP and kept in memory."""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from services.gateway.console.model import Span, Trace
from services.shared.server import private_socket

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MAX_TRACES = 500
MAX_SPANS = 500
"""Of a trace; later ones are dropped. Clients choose the ID of a trace, and may send all of their requests in one."""
MAX_ALL_SPANS = 20_000
"""Of all traces of a kind; the oldest traces are dropped."""
MAX_ATTRIBUTES = 40
MAX_ATTRIBUTE_CHARACTERS = 2048
MAX_CONCURRENT_EXPORTS = 16


class Traces:
    """Keeps the spans of traces that began at the public port.

    Spans of other traces (polls, health checks, background work) are more than those of requests: they are held as long
    as there is room for so many traces, in case Envoy's span of a request arrives after those of the services.
    """

    def __init__(self) -> None:
        self._listed: OrderedDict[str, list[Span]] = OrderedDict()
        self._others: OrderedDict[str, list[Span] | None] = OrderedDict()
        """Of traces without a request so far; None for those that are never listed."""

    def add(self, spans: Iterable[Span]) -> None:
        """Keep spans; forget the oldest traces that there is no room for."""
        for span in spans:
            self._add(span)
        for kept in (self._listed, self._others):
            count = sum(len(held or ()) for held in kept.values())
            while len(kept) > MAX_TRACES or count > MAX_ALL_SPANS:
                _, dropped = kept.popitem(last=False)
                count -= len(dropped or ())

    def latest(self, *, limit: int, method: str = "") -> list[Trace]:
        """Return traces, the newest first: all, or those of a gRPC method."""
        found = sorted(map(_trace, self._listed.values()), key=lambda trace: -trace.request.start_nanoseconds)
        selected = [trace for trace in found if not method or (trace.served and trace.served.name == method)]
        return selected[:limit]

    def find(self, trace_id: str) -> Trace | None:
        """Return a trace; None if it is not kept."""
        spans = self._listed.get(trace_id)
        return None if spans is None else _trace(spans)

    def _add(self, span: Span) -> None:
        if span.is_request and not span.is_listed:
            self._others[span.trace_id] = None
        spans = self._listed.get(span.trace_id) or self._others.setdefault(span.trace_id, [])
        if spans is None:
            return
        is_first_request = span.is_request and span.trace_id not in self._listed
        if len(spans) < MAX_SPANS or is_first_request:
            spans.append(span)
        if is_first_request:
            self._listed[span.trace_id] = spans
            del self._others[span.trace_id]


class TraceServicer(trace_service_pb2_grpc.TraceServiceServicer):
    """OTLP's TraceService."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    async def Export(self, request: Any, _context: Any) -> Any:  # noqa: N802 - the RPC's name
        """Keep the spans of an export."""
        self._traces.add(_spans(request))
        return trace_service_pb2.ExportTraceServiceResponse()


async def receive(traces: Traces, address: str) -> None:
    """Serve OTLP over gRPC on a unix socket of this user alone, until cancelled."""
    server = aio.server(maximum_concurrent_rpcs=MAX_CONCURRENT_EXPORTS)
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(TraceServicer(traces), server)  # type: ignore[no-untyped-call]
    with private_socket(address):
        server.add_insecure_port(address)
    try:
        await server.start()
        await asyncio.Event().wait()
    finally:
        await server.stop(None)


def _trace(spans: Sequence[Span]) -> Trace:
    ordered = sorted(spans, key=lambda span: span.start_nanoseconds)
    return Trace(next(span for span in ordered if span.is_request), ordered)


def _spans(request: Any) -> Iterator[Span]:
    for resource in request.resource_spans:
        service = _attributes(resource.resource).get("service.name", "")
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_span_id=span.parent_span_id.hex(),
                    service=service,
                    name=span.name,
                    is_server=span.kind == span.SPAN_KIND_SERVER,
                    start_nanoseconds=span.start_time_unix_nano,
                    end_nanoseconds=span.end_time_unix_nano,
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    attributes=_attributes(span),
                )


def _attributes(described: Any) -> dict[str, str]:
    """Return attributes. Most are the same in many spans, SQL statements above all: one copy of each is kept."""
    return {sys.intern(pair.key): sys.intern(_text(pair.value)) for pair in described.attributes[:MAX_ATTRIBUTES]}


def _text(value: Any) -> str:
    kind = value.WhichOneof("value")
    return str(getattr(value, kind))[:MAX_ATTRIBUTE_CHARACTERS] if kind else ""
