"""Traces in memory: which are listed, how many are kept, and what is read of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from services.gateway.console import convert
from services.gateway.console.model import Span
from services.gateway.console.traces import MAX_ALL_SPANS, MAX_SPANS, MAX_TRACES, Traces, receive
from services.shared.background import Background
from tests.support.serving import short_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

ENROLL = "azora.education.v1.EnrollmentService/Enroll"


def span(
    trace_id: str, service: str, name: str = "", *, start: int = 0, attributes: Mapping[str, str] | None = None
) -> Span:
    return Span(trace_id, f"{service}{start}", "", service, name, True, start, start + 5, False, attributes or {})


def request(trace_id: str, path: str = "/v1/courses", start: int = 0) -> Span:
    attributes = {
        "azora.listener": "edge",
        "http.url": f"http://localhost:8080{path}",
        "http.method": "GET",
        "http.status_code": "404",
    }
    return span(trace_id, "envoy", "ingress", start=start, attributes=attributes)


def ids(traces: Traces) -> list[str]:
    return [trace.request.trace_id for trace in traces.latest(limit=MAX_TRACES)]


def test_only_traces_of_requests_are_listed_whichever_span_comes_first() -> None:
    traces = Traces()
    traces.add([span("poll", "auth"), span("late", "auth", "x"), request("early", start=1)])
    traces.add([request("late", start=2), span("early", "auth", "y")])
    assert ids(traces) == ["late", "early"]
    assert [len(trace.spans) for trace in traces.latest(limit=10)] == [2, 2]
    assert traces.find("poll") is None
    assert [trace.request.trace_id for trace in traces.latest(limit=10, method="y")] == ["early"]
    assert len(traces.latest(limit=1)) == 1


@pytest.mark.parametrize(
    "path", ["/health", "/docs/explorer.css", "/console", "/v1/console/mesh", "/grpc.health.v1.Health/Check"]
)
def test_pages_and_the_consoles_own_calls_are_not_listed(path: str) -> None:
    traces = Traces()
    traces.add([span("t", "gateway"), request("t", path), span("t", "payment")])
    assert ids(traces) == []


def test_the_newest_traces_are_kept_and_a_trace_is_bounded() -> None:
    traces = Traces()
    for number in range(MAX_TRACES + 2):
        traces.add([request(str(number), start=number)])
        traces.add([span(f"poll{number}", "auth")])
    assert len(ids(traces)) == MAX_TRACES
    assert traces.find("1") is None
    traces.add([span("long", "payment", start=number) for number in range(2 * MAX_SPANS)])
    traces.add([request("long")])
    found = traces.find("long")
    assert found
    assert len(found.spans) == MAX_SPANS + 1


def test_requests_of_one_trace_and_long_traces_are_bounded() -> None:
    traces = Traces()
    traces.add([request("same", start=number) for number in range(3 * MAX_SPANS)])
    found = traces.find("same")
    assert found
    assert len(found.spans) == MAX_SPANS
    for number in range(MAX_ALL_SPANS // MAX_SPANS):
        traces.add([request(str(number), start=number + 1)] * MAX_SPANS)
    assert traces.find("same") is None
    assert len(ids(traces)) == MAX_ALL_SPANS // MAX_SPANS


@pytest.mark.parametrize("authority", ["[", "a]b", "[::1]", ""])
def test_a_request_to_any_authority_is_listed_by_its_path(authority: str) -> None:
    traces, attributes = Traces(), {"azora.listener": "edge", "http.url": f"http://{authority}/v1/courses/x"}
    traces.add([span("t", "envoy", attributes=attributes)])
    assert [trace.request.path for trace in traces.latest(limit=1)] == ["/v1/courses/x"]


def test_a_request_is_described_by_envoy_and_by_the_service_that_served_it() -> None:
    traces = Traces()
    status = {"rpc.response.status_code": "NOT_FOUND", "azora.error.reason": "COURSE_NOT_FOUND"}
    traces.add([request("t", "/v1/courses/1/enroll"), span("t", "education", ENROLL, start=2, attributes=status)])
    (trace,) = convert.list_traces_response(traces.latest(limit=1), otlp_endpoint="").traces
    assert (trace.method, trace.http_method, trace.path) == (ENROLL, "GET", "/v1/courses/1/enroll")
    assert (trace.http_status, trace.status, trace.reason) == (404, "NOT_FOUND", "COURSE_NOT_FOUND")
    assert list(trace.services) == ["envoy", "education"]
    traces.add([request("rejected", "/v1/wallet")])
    rejected = convert.get_trace_response(traces.find("rejected"))  # type: ignore[arg-type] # It is kept.
    assert (rejected.trace.method, rejected.trace.status, len(rejected.spans)) == ("", "", 1)


async def test_spans_arrive_over_otlp_on_a_socket_of_this_user_alone() -> None:
    traces, background = Traces(), Background()
    async with short_folder() as folder:
        socket = folder / "traces.sock"
        background.start("receive", lambda: receive(traces, f"unix:{socket}"))
        exported: Any = trace_service_pb2.ExportTraceServiceRequest()
        resource = exported.resource_spans.add()
        resource.resource.attributes.add(key="service.name").value.string_value = "envoy"
        sent = resource.scope_spans.add().spans.add(trace_id=b"\x01" * 16, span_id=b"\x02" * 8, name="ingress")
        sent.start_time_unix_nano, sent.end_time_unix_nano, sent.kind = 10**18, 10**18 + 5, SpanMessage.SPAN_KIND_SERVER
        for key, value in request("").attributes.items():
            sent.attributes.add(key=key).value.string_value = value
        sent.attributes.add(key="bytes").value.int_value = 7
        async with aio.insecure_channel(f"unix:{socket}") as channel:
            stub: Any = trace_service_pb2_grpc.TraceServiceStub(channel)  # type: ignore[no-untyped-call]
            await stub.Export(exported, wait_for_ready=True)
        assert socket.stat().st_mode & 0o777 == 0o600
        found = traces.find("01" * 16)
        assert found
        assert found.request.duration_nanoseconds == 5
        assert found.request.attributes["bytes"] == "7"
        await background.stop()
