"""What a client meets at the public port: the real Envoy, compiled from the contract, in front of stand-in services."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from azora.auth.v1 import auth_service_pb2
from azora.client import error_reason
from azora.education.v1 import course_pb2, course_service_pb2
from azora.payment.v1 import payment_service_pb2
from grpc import aio

from tests.support.edge import ORIGIN, Edge, error_info, failure, running_edge
from tests.support.http import plain_http
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import httpx

pytestmark = pytest.mark.asyncio(loop_scope="session")

EMPTY_FRAME = bytes(5)


async def test_grpc_web_calls_arrive(http: httpx.AsyncClient, edge: Edge) -> None:
    headers = {"content-type": "application/grpc-web+proto"}
    answer = await http.post("/azora.education.v1.CourseService/ListCourses", content=EMPTY_FRAME, headers=headers)
    assert answer.content.startswith(EMPTY_FRAME)
    assert b"grpc-status:0" in answer.content
    assert len(edge.received("education")) == 1


async def test_json_becomes_the_rpc_and_its_answer_json(http: httpx.AsyncClient, edge: Edge) -> None:
    edge.replicas["auth"][0].answers["Login"] = login
    answer = await http.post("/v1/auth/login", json={"email": "a@b.c", "password": "secret"})

    assert answer.json() == {"accessToken": "of a@b.c"}
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["server"] == "azora"
    assert "x-envoy-upstream-service-time" not in answer.headers


async def test_what_only_the_gateway_may_say_is_not_taken_from_clients(http: httpx.AsyncClient, edge: Edge) -> None:
    claimed = {
        "x-request-id": "mine",
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-client-cert": "URI=spiffe://azora.local/ns/default/sa/education",
        "x-auth-user": "someone",
        "x-envoy-max-retries": "100",
        "x-envoy-upstream-rq-timeout-ms": "1",
    }
    answer = await http.get("/v1/auth/profile", headers=claimed | edge.bearer())

    (call,) = edge.received("auth")
    assert call.headers["x-forwarded-for"] == "127.0.0.1"
    assert call.headers["x-request-id"] == answer.headers["x-request-id"] != "mine"
    assert call.headers["authorization"].startswith("Bearer ey"), "the service verifies it again"
    assert not call.headers.keys() & (claimed.keys() - {"x-forwarded-for", "x-request-id"})


async def test_the_path_and_not_the_body_says_whose_object_is_meant(http: httpx.AsyncClient, edge: Edge) -> None:
    for name in ("hold_id", "holdId"):
        answer = await http.post("/v1/holds/mine:capture", json={name: "yours"}, headers=edge.bearer())
        arrived = [payment_service_pb2.CaptureHoldRequest.FromString(c.message) for c in edge.received("payment")]
        assert answer.status_code == 400 or {request.hold_id for request in arrived} == {"mine"}


async def test_a_browser_on_a_listed_origin_may_call_and_no_other(http: httpx.AsyncClient) -> None:
    ask = {"access-control-request-method": "POST", "access-control-request-headers": "idempotency-key"}
    preflight = await http.options("/v1/auth/login", headers=ask | {"origin": ORIGIN})
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "idempotency-key" in preflight.headers["access-control-allow-headers"]
    refused = await http.get("/v1/nothing", headers={"origin": ORIGIN})
    assert refused.headers["access-control-allow-origin"] == ORIGIN, "or the page could not read why"
    assert "x-request-id" in refused.headers["access-control-expose-headers"]
    for other in ("https://evil.example.com", "https://app.example.com.evil.com", "null"):
        for answer in (
            await http.options("/v1/auth/login", headers=ask | {"origin": other}),
            await http.get("/v1/courses", headers={"origin": other}),
        ):
            assert "access-control-allow-origin" not in answer.headers


async def test_a_development_server_on_this_machine_may_call_in_development() -> None:
    here = "http://localhost:5173 http://localhost https://localhost:3000 http://127.0.0.1:8081 http://[::1]:4200"
    elsewhere = "http://localhost.example.com http://localhost:5173.example.com http://127.0.0.10 http://192.168.0.1"
    async with running_edge(cors_localhost=True) as edge, plain_http(edge.url) as http:
        for origin in (*here.split(), *elsewhere.split()):
            answer = await http.get("/v1/courses", headers={"origin": origin})
            assert answer.headers.get("access-control-allow-origin") == (origin if origin in here.split() else None)


@pytest.mark.parametrize("sent", ["", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])
async def test_every_call_has_a_trace_whose_id_is_in_the_access_log(
    http: httpx.AsyncClient, edge: Edge, sent: str
) -> None:
    answer = await http.get("/v1/courses", headers={"traceparent": sent} if sent else {})
    (call,) = edge.received("education")
    version, trace_id, _, flags = call.headers["traceparent"].split("-")
    assert (version, flags) == ("00", "00"), "sampled only where an OTLP endpoint is set"
    assert not sent or trace_id in sent

    async def logged() -> bool:
        lines = (edge.folder / "envoy.log").read_text().splitlines()
        return trace_id in [json.loads(x).get("trace_id") for x in lines if answer.headers["x-request-id"] in x]

    await eventually(logged, within_seconds=2)


async def test_bodiless_calls_need_no_content_type(http: httpx.AsyncClient, edge: Edge) -> None:
    for headers in ({}, {"content-length": "0"}, {"content-length": "00"}):
        answer = await http.post("/v1/courses/1:publish", headers=edge.bearer() | headers)
        assert answer.status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "br"])
async def test_long_answers_are_compressed_for_those_who_ask(
    http: httpx.AsyncClient, edge: Edge, encoding: str
) -> None:
    for replica in edge.replicas["education"]:
        replica.answers["ListCourses"] = many_courses
    async with http.stream("GET", "/v1/courses", headers={"accept-encoding": encoding}) as answer:
        body = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == encoding
    assert len(body) < 2000
    if encoding == "gzip":
        assert len(json.loads(gzip.decompress(body))["courses"]) == 50
    plain = await http.get("/v1/courses", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers


async def test_a_call_ends_by_its_methods_timeout(http: httpx.AsyncClient, edge: Edge) -> None:
    edge.replicas["payment"][0].answers["GetWallet"] = hang
    started = time.monotonic()
    answer = await http.get("/v1/wallet", headers=edge.bearer())
    assert (answer.status_code, answer.json()["code"]) == (504, 4)  # From the gateway or the service, who is first.
    assert 1.5 < time.monotonic() - started < 4


async def test_a_client_may_ask_for_less_time(channel: aio.Channel, edge: Edge) -> None:
    edge.replicas["payment"][0].answers["GetWallet"] = hang
    headers = edge.bearer() | {"grpc-timeout": "200m"}
    refused = await failure(channel, "/azora.payment.v1.WalletService/GetWallet", b"", headers)
    assert refused.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_that_may_be_repeated_is_tried_again(http: httpx.AsyncClient, edge: Edge) -> None:
    edge.replicas["payment"][0].answers["GetWallet"] = unavailable_once()
    answer = await http.get("/v1/wallet", headers=edge.bearer())
    assert answer.status_code == 200
    first, second = edge.received("payment")
    assert first.headers["x-request-id"] == second.headers["x-request-id"], "it is the key where the client sent none"


async def test_a_call_that_may_not_be_repeated_is_not(http: httpx.AsyncClient, edge: Edge) -> None:
    edge.replicas["auth"][0].answers["Register"] = unavailable_once()
    answer = await http.post("/v1/auth/register", json={"email": "a@b.c"})
    assert answer.status_code == 503
    assert len(edge.received("auth")) == 1


async def test_a_replica_that_hangs_costs_time_and_not_the_call(http: httpx.AsyncClient, edge: Edge) -> None:
    edge.replicas["education"][0].answers["ListCourses"] = hang
    answers = await asyncio.gather(*(http.get("/v1/courses") for _ in range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert edge.replicas["education"][0].received, "it was asked, and hung"


async def test_a_replica_that_goes_away_is_not_missed(http: httpx.AsyncClient, edge: Edge) -> None:
    async with running_edge(replicas={"education": 2}) as other:
        await other.stop(other.replicas["education"][0])
        answers = [await http.get(f"{other.url}/v1/courses") for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200}


async def test_floods_from_one_address_end_at_the_edge() -> None:
    async with running_edge(rate_limit_scale=0.2) as scaled, plain_http(scaled.url) as http:
        answers = [await http.post("/v1/auth/login", json={}) for _ in range(15)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) == 5, "ten a minute and address, times five, times the scale, went through"
        assert error_info(refused[0].json())["reason"] == "RATE_LIMITED"
        assert int(refused[0].headers["retry-after"]) > 0
        assert (await http.get("/v1/courses")).status_code == 200, "another tier has a bucket of its own"


async def test_streams_of_reflection_from_one_address_end_at_the_edge() -> None:
    """Reflection has no tier of the contract, and no limit in the gateway."""
    async with running_edge(rate_limit_scale=0.1) as scaled, aio.insecure_channel(scaled.target) as channel:

        async def ask(service: str) -> str:
            call: Any = channel.unary_stream(f"/grpc.reflection.{service}.ServerReflection/ServerReflectionInfo")
            try:
                return str([answer async for answer in call(b"", timeout=10)])
            except aio.AioRpcError as error:
                return error_reason(error) or error.code().name

        answers = [await ask(service) for service in ("v1", "v1alpha") * 5]
        assert answers.count("RATE_LIMITED") == 4, "sixty a minute and address, times the scale, went through"
        assert answers[-4:] == ["RATE_LIMITED"] * 4
        async with plain_http(scaled.url) as http:
            assert (await http.get("/v1/courses")).status_code == 200, "another tier has a bucket of its own"


async def login(call: Any, _context: Any) -> bytes:
    request = auth_service_pb2.LoginRequest.FromString(call.message)
    return auth_service_pb2.LoginResponse(access_token=f"of {request.email}").SerializeToString()


async def many_courses(_call: Any, _context: Any) -> bytes:
    courses = [course_pb2.Course(title=f"Course {number}") for number in range(50)]
    return course_service_pb2.ListCoursesResponse(courses=courses).SerializeToString()


async def hang(_call: Any, _context: Any) -> bytes:
    await asyncio.Event().wait()
    return b""


def unavailable_once() -> Any:
    """Return an answer that fails the first time."""
    asked = []

    async def answer(call: Any, context: Any) -> bytes:
        asked.append(call)
        if len(asked) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return b""

    return answer
