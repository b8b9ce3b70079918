"""Request headers that gRPC's core would refuse by itself never reach it: removed, or refused in our shape."""

from __future__ import annotations

import asyncio
import contextlib
import json
from base64 import b64decode
from typing import TYPE_CHECKING

import grpc
import pytest
from azora.client import error_reason
from google.rpc import error_details_pb2, status_pb2

from services.shared.limits import MAX_HEADERS, MAX_HEADERS_KIB
from tests.support.edge import Edge, error_info, failure, memory_mib
from tests.support.http2 import CONTINUATION, END_HEADERS, END_STREAM, FRAME_BYTES, block, connection
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import httpx
    from grpc import aio

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIST = "/azora.education.v1.CourseService/ListCourses"
EMPTY_FRAME = bytes(5)
GRPC = {"content-type": "application/grpc", "te": "trailers"}
GROWTH_MIB = 20
OWN_HEADERS = 9
"""What a gRPC client, or an HTTP client, sends beside the headers of its caller, at most."""


def reason(answer: httpx.Response) -> str:
    """Return the ErrorInfo.reason of a gRPC answer that is all headers."""
    details = status_pb2.Status.FromString(b64decode(answer.headers["grpc-status-details-bin"] + "=="))
    info = error_details_pb2.ErrorInfo()
    assert details.details[0].Unpack(info)
    return str(info.reason)


@pytest.mark.parametrize(
    "value", ["!!", "a", "YQ=", "YR==", "_-8=", "YQ==,YQ==", "AAAAA", "=", "YQ==YQ=="], ids=str.encode
)
@pytest.mark.parametrize("name", ["x-bin", "grpc-trace-bin", "grpc-tags-bin"])
async def test_binary_headers_that_are_not_base64_are_refused(
    http: httpx.AsyncClient, edge: Edge, name: str, value: str
) -> None:
    answer = await http.get("/v1/courses", headers={name: value})
    assert (answer.status_code, error_info(answer.json())["reason"]) == (400, "HTTP_REQUEST_INVALID")
    assert not edge.received("education")


@pytest.mark.parametrize("value", [b"", b"a", b"ab", b"abc", b"\xff\x00\xfe\xfd", bytes(range(256))])
async def test_binary_headers_of_grpc_clients_arrive(
    http: httpx.AsyncClient, channel: aio.Channel, edge: Edge, value: bytes
) -> None:
    assert http
    await channel.unary_unary(LIST)(b"", metadata=(("x-bin", value), ("grpc-trace-bin", value)))  # type: ignore[arg-type]
    (call,) = edge.received("education")
    assert call.headers["x-bin"] == str(value)


@pytest.mark.parametrize(
    "name",
    [
        "endpoint-load-metrics-bin",
        "grpc-internal-encoding-request",
        "grpc-message",
        "grpc-previous-rpc-attempts",
        "grpc-retry-pushback-ms",
        "grpc-server-stats-bin",
        "grpc-status",
        "grpc-status-details-bin",
        "lb-cost-bin",
        "lb-token",
    ],
)
async def test_headers_of_servers_and_of_grpc_itself_are_removed(
    http: httpx.AsyncClient, edge: Edge, name: str
) -> None:
    answer = await http.get("/v1/courses", headers={name: "%!"})
    assert answer.status_code == 200
    (call,) = edge.received("education")
    assert name not in call.headers


@pytest.mark.parametrize("te", [{}, {"te": "TRAILERS"}])
async def test_a_grpc_call_without_te_arrives(http: httpx.AsyncClient, edge: Edge, te: dict[str, str]) -> None:
    """The core reset it, which was repeated three times and then answered UNAVAILABLE."""
    answer = await http.post(LIST, content=EMPTY_FRAME, headers={"content-type": "application/grpc"} | te)
    assert answer.status_code == 200
    assert len(edge.received("education")) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [*((method, LIST) for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS")), ("POST", f"{LIST}?a=1")],
)
async def test_what_the_core_takes_for_no_call_is_refused_by_the_edge(
    http: httpx.AsyncClient, edge: Edge, method: str, path: str
) -> None:
    """The core answered "Error parsing ':method' metadata" and "Method not found!", without ErrorInfo."""
    answer = await http.request(method, path, content=EMPTY_FRAME, headers=GRPC)
    assert (answer.status_code, answer.headers["grpc-status"]) == (200, "12")
    assert reason(answer) == "ROUTE_NOT_FOUND"
    assert not edge.received("education")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0\0",
        b"\0\0\0\0\x09abc",
        b"\0\xff\xff\xff\xffabc",
        EMPTY_FRAME + EMPTY_FRAME,
        EMPTY_FRAME + b"a",
        b"\1\0\0\0\0",
        b"\2\0\0\0\0",
    ],
    ids=bytes.hex,
)
@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc-web+proto"])
async def test_a_call_whose_body_is_not_one_message_is_refused_at_once(
    http: httpx.AsyncClient, edge: Edge, content_type: str, body: bytes
) -> None:
    """The core never answered one that is not whole: 1,024 of them kept everyone out of a service for 5 seconds."""
    answer = await http.post(LIST, content=body, headers=GRPC | {"content-type": content_type})
    assert (answer.headers["grpc-status"], reason(answer)) == ("3", "MALFORMED_REQUEST")
    assert not edge.received("education")


@pytest.mark.parametrize("encoding", ["foo", "identity, gzip", ""])
async def test_a_compression_that_the_services_cannot_read_is_refused(
    http: httpx.AsyncClient, edge: Edge, encoding: str
) -> None:
    headers = {"grpc-encoding": encoding}
    answer = await http.get("/v1/courses", headers=headers)
    assert (answer.status_code, error_info(answer.json())["reason"]) == (415, "ENCODING_UNSUPPORTED")
    web = {"content-type": "application/grpc-web+proto"} | headers
    answer = await http.post(LIST, content=EMPTY_FRAME, headers=web)
    assert (answer.status_code, answer.headers["grpc-status"]) == (200, "12")
    assert not edge.received("education")


@pytest.mark.parametrize("compression", list(grpc.Compression))
async def test_compressed_messages_arrive(
    http: httpx.AsyncClient, channel: aio.Channel, edge: Edge, compression: grpc.Compression
) -> None:
    assert http
    message = b"\n\x64" + bytes(100)
    await channel.unary_unary(LIST)(message, compression=compression)  # type: ignore[arg-type]
    (call,) = edge.received("education")
    assert call.message == message


@pytest.mark.parametrize("kib", [7, 9, 12, 15])
async def test_headers_within_the_limit_always_arrive(
    http: httpx.AsyncClient, channel: aio.Channel, edge: Edge, kib: int
) -> None:
    long = "a" * kib * 1024
    assert {(await http.get("/v1/courses", headers={"x-long": long})).status_code for _ in range(10)} == {200}
    for _ in range(10):
        await channel.unary_unary(LIST)(b"", metadata=(("x-long", long),))  # type: ignore[arg-type]
    assert len(edge.received("education")) == 20


async def test_headers_above_the_limit_are_refused_by_the_edge(http: httpx.AsyncClient, channel: aio.Channel) -> None:
    long = "a" * MAX_HEADERS_KIB * 1024
    answer = await http.get("/v1/courses", headers={"x-long": long})
    assert (answer.status_code, error_info(answer.json())["reason"]) == (431, "REQUEST_TOO_LARGE")
    refused = await failure(channel, LIST, b"", {"x-long": long})
    assert (refused.code(), error_reason(refused)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE")


@pytest.mark.parametrize(
    "headers",
    [
        {f"x-{number}": "a" for number in range(MAX_HEADERS)},
        {f"x-{number}": "a" for number in range(3 * MAX_HEADERS)},
        {"x-long": "a" * 64 * 1024},
        {f"x-long-{number}": "a" * 8 * 1024 for number in range(8)},
    ],
    ids=["64", "192", "64 KiB in one", "64 KiB in eight"],
)
async def test_many_headers_and_64_kib_of_them_are_refused_alike_by_every_way(
    http: httpx.AsyncClient, channel: aio.Channel, edge: Edge, headers: dict[str, str]
) -> None:
    """HTTP/2's codec reset the stream: a gRPC client was told INTERNAL, or tried again."""
    answer = await http.get("/v1/courses", headers=headers)
    assert (answer.status_code, error_info(answer.json())["reason"]) == (431, "REQUEST_TOO_LARGE")
    refused = await failure(channel, LIST, b"", headers)
    assert (refused.code(), error_reason(refused)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE")
    assert not edge.received("education")
    await channel.unary_unary(LIST)(b"")  # type: ignore[arg-type]
    assert (await http.get("/v1/courses")).status_code == 200


async def test_as_many_headers_as_are_allowed_arrive(http: httpx.AsyncClient, channel: aio.Channel, edge: Edge) -> None:
    headers = {f"x-{number}": "a" for number in range(MAX_HEADERS - OWN_HEADERS)}
    assert (await http.get("/v1/courses", headers=headers)).status_code == 200
    await channel.unary_unary(LIST)(b"", metadata=tuple(headers.items()))  # type: ignore[arg-type]
    assert len(edge.received("education")) == 2


@pytest.mark.parametrize("kib", [65, 512])
async def test_longer_headers_end_their_connection_and_nobody_elses(
    http: httpx.AsyncClient, edge: Edge, kib: int
) -> None:
    before = memory_mib(edge)
    assert (await http.get("/v1/courses", headers={"x-long": "a" * kib * 1024})).status_code == 431
    long = block({"x-long": "a" * kib * 1024})
    async with connection(edge.profile.public.port) as raw:
        stream = await raw.open("/v1/courses", {}, method="GET", flags=END_STREAM)
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(long), FRAME_BYTES):
                await raw.send(CONTINUATION, 0, stream, long[start : start + FRAME_BYTES])
            await raw.send(CONTINUATION, END_HEADERS, stream, b"")
            async with asyncio.timeout(5):
                await raw.reading
    assert not edge.received("education")
    assert (await http.get("/v1/courses")).status_code == 200
    assert memory_mib(edge) - before < GROWTH_MIB


async def test_trailers_of_requests_do_not_arrive(http: httpx.AsyncClient, edge: Edge) -> None:
    assert http
    async with connection(edge.profile.public.port) as raw:
        stream = await raw.open(LIST, GRPC)
        await raw.data(stream, EMPTY_FRAME)
        await raw.trailers(stream, {"x-bin": "!!", "grpc-retry-pushback-ms": "x"})
        await eventually(lambda: _arrived(edge))


async def test_every_refusal_is_in_the_access_log(http: httpx.AsyncClient, edge: Edge) -> None:
    answer = await http.get("/v1/courses", headers={"x-bin": "!!"})
    request_id = answer.headers["x-request-id"]
    await eventually(lambda: _logged(edge, request_id))


async def _arrived(edge: Edge) -> bool:
    return len(edge.received("education")) == 1


async def _logged(edge: Edge, request_id: str) -> bool:
    lines = (edge.folder / "envoy.log").read_text().splitlines()
    logged = [json.loads(line) for line in lines if request_id in line]
    return [line["status"] for line in logged] == [400]
