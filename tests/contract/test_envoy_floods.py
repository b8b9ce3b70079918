"""Floods of HTTP/2 frames, cheap for who sends them: their connection ends, Envoy and everyone else go on."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support import http2
from tests.support.edge import Edge, memory_mib
from tests.support.http2 import END_HEADERS, END_STREAM, Connection, connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import httpx

pytestmark = pytest.mark.asyncio(loop_scope="session")

KIB = 1024
COURSES = "/v1/courses"
LOGIN = "/azora.auth.v1.AuthService/Login"
GRPC = {"content-type": "application/grpc", "te": "trailers"}
CANCEL = (8).to_bytes(4, "big")
MANY = 20_000
GROWTH_MIB = 40


async def rapid_resets(raw: Connection) -> None:
    """Begin and cancel calls, so that none counts against the limit of concurrent streams (CVE-2023-44487)."""
    for _ in range(MANY):
        stream = await raw.open(COURSES, {}, method="GET", flags=END_HEADERS | END_STREAM)
        await raw.send(http2.RST_STREAM, 0, stream, CANCEL)


async def provoked_resets(raw: Connection) -> None:
    """Make the server cancel calls by frames that break the protocol ("MadeYouReset", CVE-2025-8671)."""
    for _ in range(MANY):
        stream = await raw.open(LOGIN, GRPC)
        await raw.send(http2.WINDOW_UPDATE, 0, stream, bytes(4))


async def pings(raw: Connection) -> None:
    """Ask for answers that nobody reads."""
    for number in range(10 * MANY):
        await raw.send(http2.PING, 0, 0, number.to_bytes(8, "big"))


async def settings(raw: Connection) -> None:
    """Change settings, each to be acknowledged."""
    for _ in range(10 * MANY):
        await raw.send(http2.SETTINGS, 0, 0, b"")


async def continuations(raw: Connection) -> None:
    """Send headers that never end (CVE-2024-27316)."""
    stream = await raw.open(COURSES, {}, method="GET", flags=0)
    for number in range(MANY):
        await raw.send(http2.CONTINUATION, 0, stream, http2.block({f"x-{number}": "a" * KIB}))


async def empty_continuations(raw: Connection) -> None:
    """Send headers that never end and hold nothing."""
    stream = await raw.open(COURSES, {}, method="GET", flags=0)
    for _ in range(10 * MANY):
        await raw.send(http2.CONTINUATION, 0, stream, b"")


async def empty_data(raw: Connection) -> None:
    """Send parts of a body that hold nothing (CVE-2019-9518)."""
    stream = await raw.open(LOGIN, GRPC)
    for _ in range(MANY):
        await raw.send(http2.DATA, 0, stream, b"")


async def priorities(raw: Connection) -> None:
    """Reorder streams (CVE-2019-9513)."""
    for number in range(MANY):
        await raw.send(http2.PRIORITY, 0, 2 * number + 1, bytes(5))


async def window_updates(raw: Connection) -> None:
    """Grow a window by a byte at a time."""
    for _ in range(MANY):
        await raw.send(http2.WINDOW_UPDATE, 0, 0, (1).to_bytes(4, "big"))


FLOODS: list[Callable[[Connection], Awaitable[None]]] = [
    rapid_resets,
    provoked_resets,
    pings,
    settings,
    continuations,
    empty_continuations,
    empty_data,
    priorities,
    window_updates,
]


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
async def test_a_flood_of_frames_ends_its_connection_and_nobody_elses(
    http: httpx.AsyncClient, edge: Edge, flood: Callable[[Connection], Awaitable[None]]
) -> None:
    await http.get(COURSES)
    before = memory_mib(edge)
    reads = flood not in (pings, settings)
    async with connection(edge.profile.public.port, reads=reads) as raw, others(http) as seen:
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                await flood(raw)
                await raw.reading
    assert set(seen) == {200}
    assert memory_mib(edge) - before < GROWTH_MIB
    assert len(edge.received("education")) < 2_000, "few of the calls that were begun reached a service"


async def test_headers_that_unpack_to_much_are_refused_before_they_do(http: httpx.AsyncClient, edge: Edge) -> None:
    """An HPACK bomb (CVE-2016-6581): thousands of references to one long header in the compression's table."""
    await http.get(COURSES)
    before = memory_mib(edge)
    bomb = b"\x40" + http2.text("x-long") + http2.text("a" * 3 * KIB) + b"\xbe" * 12_000
    async with connection(edge.profile.public.port) as raw, others(http) as seen:
        for _ in range(200):  # Each is 36 MB of headers.
            stream = await raw.open("/v1/auth/profile", {}, method="GET", flags=0)
            await raw.send(http2.CONTINUATION, END_HEADERS, stream, bomb)
        await raw.send(http2.PING, 0, 0, bytes(8))
    assert set(seen) == {200}
    assert memory_mib(edge) - before < GROWTH_MIB
    assert not edge.received("auth")


@asynccontextmanager
async def others(http: httpx.AsyncClient) -> AsyncIterator[list[int]]:
    """Call on another connection meanwhile; give the statuses."""
    statuses: list[int] = []

    async def call() -> None:
        while True:
            statuses.append((await http.get(COURSES)).status_code)

    calling = asyncio.create_task(call())
    try:
        yield statuses
        statuses.append((await http.get(COURSES)).status_code)
    finally:
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
