"""What operators see of a running system: one trace from the edge to the SQL, and one page of metrics."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.http import plain_http
from tests.support.services import SERVED
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.collector import Collector, KeptSpan
    from tests.support.people import People
    from tests.support.system import LocalSystem

ENROLL = "azora.education.v1.EnrollmentService/Enroll"
HOLD, CAPTURE = "azora.payment.v1.PaymentService/CreateHold", "azora.payment.v1.PaymentService/CaptureHold"


async def test_the_trace_of_a_paid_enrolment_is_one_tree_from_the_edge_to_the_sql(
    http: httpx.AsyncClient, people: People, collector: Collector
) -> None:
    student, admin = await people.student(), await people.admin()
    user_id = (await http.get("/v1/auth/profile", headers=student)).json()["user"]["id"]
    grant = {"userId": user_id, "amount": {"minorUnits": "4900", "currency": "AZR"}, "reference": f"trace:{user_id}"}
    assert (await http.post("/v1/earn", json=grant, headers=admin)).status_code == 200
    courses = (await http.get("/v1/courses")).json()["courses"]
    paid = next(course for course in courses if course["price"]["minorUnits"] == "4900")
    trace_id, client_span = os.urandom(16).hex(), os.urandom(8).hex()
    headers = student | {"traceparent": f"00-{trace_id}-{client_span}-01"}
    enrolled = await http.post(f"/v1/courses/{paid['id']}/enroll", json={}, headers=headers)
    assert enrolled.json()["enrollment"]["state"] == "ENROLLMENT_STATE_ACTIVE"

    async def whole() -> bool:
        return _whole(collector.trace(trace_id), client_span)

    await eventually(whole, within_seconds=30)
    spans = {span.span_id: span for span in collector.trace(trace_id)}
    for method in (HOLD, CAPTURE):
        (served,) = (span for span in spans.values() if (span.service, span.name) == ("payment", method))
        above = [(span.service, span.name) for span in _path(spans, served)]
        assert above == [
            ("payment", method),
            ("envoy", above[1][1]),
            ("education", method),
            ("education", ENROLL),
            ("envoy", above[4][1]),
        ]
        assert any(span.parent_id == served.span_id and "db.query.text" in span.attributes for span in spans.values())
    statements = [span for span in spans.values() if "db.query.text" in span.attributes]
    assert {span.service for span in statements} == {"education", "payment"}
    assert {"SELECT", "INSERT", "COMMIT"} <= {span.attributes["db.operation.name"] for span in statements}
    assert not any(span.failed for span in spans.values())
    kept = json.dumps([[span.name, dict(span.attributes)] for span in spans.values()])
    assert user_id not in kept
    assert "Bearer" not in kept


async def test_no_span_has_what_was_sent_in_a_query(http: httpx.AsyncClient, collector: Collector) -> None:
    trace_id = os.urandom(16).hex()
    headers = {"traceparent": f"00-{trace_id}-{os.urandom(8).hex()}-01"}
    query = "email=thandi@example.com&password=a-secret"
    await http.post(f"/v1/auth/login?{query}", json={}, headers=headers)
    grpc = headers | {"content-type": "application/grpc", "te": "trailers"}
    await http.post(f"/azora.auth.v1.AuthService/Login?{query}", content=bytes(5), headers=grpc)

    async def arrived() -> bool:
        services = [span.service for span in collector.trace(trace_id)]
        return "auth" in services and services.count("envoy") == 2

    await eventually(arrived, within_seconds=30)
    kept = json.dumps([[span.name, dict(span.attributes)] for span in collector.trace(trace_id)])
    assert "/v1/auth/login" in kept
    assert not any(secret in kept for secret in ("thandi", "a-secret"))


@pytest.mark.parametrize("name", ["user-agent", "content-type", "tracestate", "x-client-trace-id"])
async def test_no_header_makes_the_collector_reject_spans(
    http: httpx.AsyncClient, collector: Collector, name: str
) -> None:
    trace_id = os.urandom(16).hex()
    headers = {"content-type": "application/grpc", "traceparent": f"00-{trace_id}-{os.urandom(8).hex()}-01"}
    headers[name] = "application/grpc+\xff" if name == "content-type" else "a=\xff"
    encoded = httpx.Headers(headers, encoding="latin-1")
    await http.post("/azora.education.v1.CourseService/ListCourses", content=bytes(5), headers=encoded)

    async def arrived() -> bool:
        return "envoy" in {span.service for span in collector.trace(trace_id)}

    await eventually(arrived, within_seconds=30)


def _path(spans: dict[str, KeptSpan], span: KeptSpan) -> Sequence[KeptSpan]:
    """Return a span and those above it."""
    path = [span]
    while path[-1].parent_id in spans:
        path.append(spans[path[-1].parent_id])
    return path


def _whole(spans: Sequence[KeptSpan], client_span: str) -> bool:
    """Whether the client's call is above all spans, and both of Payment's are among them: each is exported alone."""
    known = {span.span_id for span in spans} | {client_span}
    paid = {span.name for span in spans if span.service == "payment"}
    return {HOLD, CAPTURE} <= paid and all(span.parent_id in known for span in spans)


async def test_one_page_has_the_metrics_of_all_processes_and_the_edge_has_not(
    system: LocalSystem, http: httpx.AsyncClient, people: People
) -> None:
    await http.get("/v1/wallet", headers=await people.student())
    assert (await http.get("/metrics")).status_code == 404
    async with plain_http(timeout=20) as prometheus:
        page = (await prometheus.get(f"http://{system.environment['AZORA_METRICS_LISTEN']}/metrics")).text
    for service in SERVED:
        assert f'azora_up{{replica="0",service="{service}"}} 1.0' in page
    assert 'azora_rpc_duration_seconds_count{code="OK",method="azora.payment.v1.WalletService/GetWallet"' in page
    assert 'azora_jobs{replica="0",service="payment",state="failed"} 0.0' in page
    assert "@azora.world" not in page
