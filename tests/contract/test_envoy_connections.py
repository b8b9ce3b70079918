"""Clients who hold connections or half sent requests: they keep nobody out for long."""

from __future__ import annotations

import asyncio
import resource
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from azora.client import MeshIdentity, connect

from services.compiler.envoy.connections import MAX_CONNECTIONS
from tests.support.edge import memory_mib, running_edge
from tests.support.http import plain_http
from tests.support.http2 import PREFACE, connection
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.alone]

KIB = 1024
IDLE = MAX_CONNECTIONS + 10
GRPC = {"content-type": "application/grpc", "te": "trailers"}
EARN = "/azora.payment.v1.PaymentService/Earn"
CREATE = "/azora.education.v1.CourseService/CreateCourse"


@asynccontextmanager
async def held(port: int, count: int, sent: bytes = b"") -> AsyncIterator[list[asyncio.StreamReader]]:
    """Open connections that send this, and then nothing."""
    async with AsyncExitStack() as stack:
        readers = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            writer.write(sent)
            readers.append(reader)
        yield readers


async def test_idle_connections_keep_nobody_out_and_end_soon() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft > IDLE + KIB, "this test holds many sockets: ulimit -n 8192"
    async with running_edge() as edge, held(edge.profile.public.port, IDLE) as readers:
        async with plain_http(edge.url) as http:
            assert (await http.get("/v1/courses")).status_code == 200
            assert (await http.get("/v1/wallet", headers=edge.bearer())).status_code == 200
        folder = edge.folder / "pki"
        identity = MeshIdentity(folder / "education.crt", folder / "education.key", folder / "ca.crt")
        async with connect(f"unix:{edge.folder}/mesh.sock", identity=identity) as mesh:
            await mesh.unary_unary(EARN)(b"", timeout=5)  # type: ignore[arg-type]
        ended = await asyncio.wait_for(asyncio.gather(*(reader.read() for reader in readers)), 15)
        assert set(ended) == {b""}, "closed without a word"


async def test_connections_that_only_greet_keep_nobody_out_for_long() -> None:
    """Two thousand that had sent the preface of HTTP/2 and nothing else kept all others out for a minute."""
    async with running_edge() as edge, held(edge.profile.public.port, IDLE, PREFACE) as readers:
        async with plain_http(edge.url) as http:

            async def answered() -> bool:
                try:
                    return (await http.get("/v1/courses")).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(answered, within_seconds=12)
        assert memory_mib(edge) < 200
        await asyncio.wait_for(asyncio.gather(*(reader.read() for reader in readers), return_exceptions=True), 20)


@pytest.mark.alone
async def test_memory_of_signed_in_clients_is_bounded_too() -> None:
    """Large requests may be half sent by many: the heap monitor resets those that hold most.

    Alone, as what arrives until it looks again depends on how soon it gets a core.
    """
    async with running_edge() as edge, AsyncExitStack() as stack:
        port = edge.profile.public.port
        for _ in range(8):
            raw = await stack.enter_async_context(connection(port))
            streams = [await raw.open(CREATE, GRPC | edge.bearer()) for _ in range(60)]
            for _ in range(60):
                for stream in streams:
                    await raw.data(stream, bytes(15 * KIB))
        async with plain_http(edge.url) as http:

            async def answered() -> bool:
                return (await http.get("/v1/courses")).status_code == 200

            # Envoy looks at its heap ten times a second, and refuses everyone until it has reset who holds most.
            await eventually(answered, within_seconds=2)
        assert memory_mib(edge) < 400
