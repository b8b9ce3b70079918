"""Clients that take their time, or send little that becomes much: what they hold ends, in bounded time and memory."""

from __future__ import annotations

import asyncio
import gzip
import time
from pathlib import Path

import httpx
import pytest

from services.compiler.envoy import edge as public_listener
from tests.support import http2
from tests.support.edge import Edge, error_info, memory_mib, running_edge
from tests.support.http2 import END_HEADERS, END_STREAM, connection
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

KIB, MIB = 1024, 1024 * 1024
LIST = "/azora.education.v1.CourseService/ListCourses"
CREATE = "/azora.education.v1.CourseService/CreateCourse"
GRPC = {"content-type": "application/grpc", "te": "trailers", "grpc-encoding": "gzip"}


async def test_headers_that_come_in_drops_end_after_five_seconds(http: httpx.AsyncClient, edge: Edge) -> None:
    """Slowloris: over HTTP/1.1 the time counts from the first byte, over HTTP/2 from a stream's first frame."""
    assert http
    begun = time.monotonic()
    async with connection(edge.profile.public.port) as raw:
        await raw.open("/v1/courses", {}, method="GET", flags=0)
        answer = await dripping(edge, b"GET /v1/courses HTTP/1.1\r\nhost: localhost\r\n", b"x-a: b\r\n")
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert b"DEADLINE" in answer
        await eventually(lambda: is_idle(edge), within_seconds=3)
    assert 4 < time.monotonic() - begun < 9
    assert not edge.received("education")


async def test_bodies_that_come_in_drops_and_answers_that_nobody_reads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """In as many seconds as are compiled: thirty and sixty, a second here."""
    limits = public_listener._limits
    soon = {"request_timeout": "1s", "stream_idle_timeout": "1s"}
    assert soon.keys() <= limits().keys()
    monkeypatch.setattr(public_listener, "_limits", lambda: limits() | soon)
    async with running_edge() as edge:
        head = b"POST /v1/auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        answer = await dripping(edge, head + b"content-length: 1000\r\n\r\n", b" ")
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert not edge.received("auth")
        async with connection(edge.profile.public.port) as raw:
            await raw.send(http2.SETTINGS, 0, 0, (4).to_bytes(2, "big") + bytes(4))  # A window of no bytes.
            for _ in range(50):
                await raw.open("/v1/courses", {}, method="GET", flags=END_HEADERS | END_STREAM)

            async def held() -> bool:
                return await in_progress(edge) == 50

            await eventually(held, within_seconds=1)
            await eventually(lambda: is_idle(edge), within_seconds=5)


@pytest.mark.alone
async def test_compressed_requests_do_not_choose_how_much_they_become(http: httpx.AsyncClient, edge: Edge) -> None:
    """Gzip bombs: a thousandth of what they hold. gRPC unpacks up to the limit of messages, JSON is never unpacked."""
    bomb = gzip.compress(bytes(55 * MIB), 6)
    large = gzip.compress(bytes(200 * MIB), 1)
    await http.get("/v1/courses")
    edge.forget()
    before, before_here = memory_mib(edge), peak_mib()
    async with connection(edge.profile.public.port) as raw:
        for path, headers, content in [(LIST, GRPC, bomb)] * 20 + [(CREATE, GRPC | edge.bearer(), large)] * 2:
            stream = await raw.open(path, headers)
            await raw.data(stream, b"\1" + len(content).to_bytes(4, "big") + content)
            await raw.send(http2.DATA, END_STREAM, stream, b"")
        coded = {"content-encoding": "gzip", "content-type": "application/json"}
        answer = await http.post("/v1/auth/login", content=bomb, headers=coded)
        assert (answer.status_code, error_info(answer.json())["reason"]) == (400, "MALFORMED_REQUEST")
        answers = [await http.get("/v1/courses") for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200}
    assert len(edge.received("education")) == 20, "the calls of this client, no bomb"
    assert memory_mib(edge) - before < 60
    assert peak_mib() - before_here < 60, "the services of the test run in its process"


async def in_progress(edge: Edge) -> int:
    """Return how many requests the public port is at work on."""
    transport = httpx.AsyncHTTPTransport(uds=edge.profile.admin.path)
    async with httpx.AsyncClient(transport=transport, base_url="http://envoy") as admin:
        stats = await admin.get("/stats", params={"filter": "^http.edge.downstream_rq_active$"})
    return int(stats.text.rpartition(":")[2])


async def is_idle(edge: Edge) -> bool:
    return await in_progress(edge) == 0


async def dripping(edge: Edge, start: bytes, drop: bytes) -> bytes:
    """Send the start of a request and then a drop now and again, until there is an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.profile.public.port)
    answer = asyncio.create_task(reader.read(64 * KIB))
    try:
        writer.write(start)
        while not answer.done():
            writer.write(drop)
            await asyncio.wait({answer}, timeout=0.2)
        return await answer
    finally:
        writer.close()


def peak_mib() -> int:
    """Return the peak of this process's resident memory."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // KIB
