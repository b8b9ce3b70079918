"""What a client may send and hold at the edge: bodies, streams; and who is counted as one client."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from azora.client import error_reason

from services.compiler.contract import load_contract
from services.compiler.envoy import compile_bootstrap
from services.compiler.request_size import max_request_bytes
from tests.support.edge import Edge, error_info, failure, memory_mib, running_edge
from tests.support.http import plain_http
from tests.support.http2 import connection

if TYPE_CHECKING:
    import httpx
    from grpc import aio

pytestmark = pytest.mark.asyncio(loop_scope="session")

KIB, MIB = 1024, 1024 * 1024
GRPC = {"content-type": "application/grpc", "te": "trailers"}
LOGIN = "/azora.auth.v1.AuthService/Login"
CREATE = "/azora.education.v1.CourseService/CreateCourse"
COURSE_BYTES = 300 * KIB


async def test_only_the_public_port_is_limited_in_connections(edge: Edge) -> None:
    listeners = {
        listener["name"]: listener for listener in compile_bootstrap(edge.profile)["static_resources"]["listeners"]
    }
    outside = {name for name, listener in listeners.items() if listener["ignore_global_conn_limit"]}
    assert outside == {"mesh", "jwks"}
    assert outside == {name for name, listener in listeners.items() if listener["bypass_overload_manager"]}


@pytest.mark.parametrize(
    ("path", "headers", "start"),
    [
        (LOGIN, GRPC, b"\0\0\x0f\xff\xff"),
        ("/v1/auth/login", {"content-type": "application/json"}, b'{"email":"'),
        (CREATE, GRPC, b"\0\0\x0f\xff\xff"),
    ],
)
async def test_half_sent_bodies_do_not_choose_envoys_memory(
    edge: Edge, path: str, headers: dict[str, str], start: bytes
) -> None:
    """Without limits of the method's own, four connections held 500 MB."""
    async with AsyncExitStack() as stack:
        before = memory_mib(edge)
        port = edge.profile.public.port
        opened = [await stack.enter_async_context(connection(port)) for _ in range(4)]
        for raw in opened:
            streams = [await raw.open(path, headers) for _ in range(60)]
            for stream in streams:
                await raw.data(stream, start + bytes(15 * KIB))
            for _ in range(8):
                for stream in streams:
                    await raw.data(stream, bytes(7 * KIB))
        async with plain_http(edge.url) as http:
            assert (await http.get("/v1/courses")).status_code == 200
        assert not any(raw.reading.done() for raw in opened), "the connections still hold what they have sent"
        assert memory_mib(edge) - before < 120


async def test_requests_are_as_large_as_the_contract_allows(
    http: httpx.AsyncClient, channel: aio.Channel, edge: Edge
) -> None:
    large = [
        method.full_name
        for path, method in load_contract().methods.items()
        if path.startswith("/azora.") and max_request_bytes(method.input_type) > 64 * KIB
    ]
    assert large == [
        *(f"azora.education.v1.AssessmentService.{write}" for write in ("SaveAnswers", "SubmitAttempt")),
        *(f"azora.education.v1.CourseService.{edit}Course" for edit in ("Create", "Update", "Import")),
        *(f"azora.education.v1.CourseService.{edit}" for edit in ("CreateModule", "CreateLesson", "UpdateLesson")),
        "azora.education.v1.InternalService.ReceiveEvents",
        "azora.payment.v1.InternalService.ReceiveEvents",
        "azora.payment.v1.PaymentService.BatchCreateTransfers",
    ], "bound the fields of a request by rules, or name it here"

    course: dict[str, Any] = {"title": "a", "modules": [{"title": "b", "lessons": [{"content": "c" * COURSE_BYTES}]}]}
    answer = await http.post("/v1/courses", json=course, headers=edge.bearer())
    assert answer.status_code == 200
    bearer = tuple(edge.bearer().items())
    await channel.unary_unary(CREATE)(b"\n" + varint(COURSE_BYTES) + b"c" * COURSE_BYTES, metadata=bearer)  # type: ignore[arg-type]
    assert len(edge.received("education")) == 2
    too_large = course | {"description": "d" * MIB}
    answer = await http.post("/v1/courses", json=too_large, headers=edge.bearer())
    assert (answer.status_code, error_info(answer.json())["reason"]) == (413, "REQUEST_TOO_LARGE")
    answer = await http.post("/v1/auth/login", json={"email": "a" * COURSE_BYTES})
    assert (answer.status_code, error_info(answer.json())["reason"]) == (413, "REQUEST_TOO_LARGE")
    refused = await failure(channel, LOGIN, bytes(COURSE_BYTES), {})
    assert (refused.code(), error_reason(refused)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE")


async def test_an_ipv6_client_is_a_network_of_64_bits() -> None:
    async with running_edge(rate_limit_scale=0.2, trusted_proxies=1) as edge, plain_http() as http:

        async def login(address: str) -> int:
            answer = await http.post(f"{edge.url}/v1/auth/login", json={}, headers={"x-forwarded-for": address})
            return answer.status_code

        of_one = [await login(f"2001:db8:0:1::{number:x}") for number in range(1, 13)]
        assert of_one == [200] * 10 + [429] * 2, "ten a minute and client, times five, times the scale"
        assert await login("2001:db8:0:2::1") == 200
        assert await login("203.0.113.1") == 200


async def test_health_is_not_watched_at_the_edge(channel: aio.Channel) -> None:
    refused = await failure(channel, "/grpc.health.v1.Health/Watch", b"", {})
    assert refused.code() is grpc.StatusCode.UNIMPLEMENTED


def varint(number: int) -> bytes:
    encoded = b""
    while number > 127:
        encoded += bytes((number % 128 + 128,))
        number //= 128
    return encoded + bytes((number,))
