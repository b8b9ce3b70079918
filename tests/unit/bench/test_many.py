"""Load from many callers: every answer is counted, over either protocol, and one that is no success ends it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc import aio

from bench import many
from bench.client import Request
from bench.errors import WrongAnswer
from tests.support.listening import listening
from tests.support.serving import short_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

METHOD = "/azora.bench.v1.EchoService/Echo"


@asynccontextmanager
async def grpc_server(answer: Callable[[bytes, Any], Any]) -> AsyncIterator[str]:
    server = aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("azora.bench.v1.EchoService", {"Echo": handler}),)
    )
    async with short_folder() as folder:
        server.add_insecure_port(f"unix:{folder}/echo.sock")
        await server.start()
        yield f"unix:{folder}/echo.sock"
        await server.stop(None)


@asynccontextmanager
async def http_server(status: str) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}".encode())

    async with listening(serve) as port:
        yield f"http://127.0.0.1:{port}"


async def test_calls_over_grpc_are_counted() -> None:
    seen: list[bytes] = []

    async def answer(request: bytes, _: Any) -> bytes:
        seen.append(request)
        return request

    async with grpc_server(answer) as target:
        requests = [Request(target, METHOD, body=body, grpc=True) for body in (b"one", b"x" * 2_000)]
        made = await many.load(requests, 6, 0.2)
    assert made.calls == len(seen) == len(made.latencies_seconds)
    assert set(seen) == {b"one", b"x" * 2_000}


async def test_calls_over_http_are_counted() -> None:
    async with http_server("200 OK") as target:
        requests = [Request(target, f"/{name}", {"authorization": name}, b"{}") for name in "ab"]
        made = await many.load(requests, 3, 0.1)
    assert made.calls == len(made.latencies_seconds) > 3


async def test_each_request_is_sent_once() -> None:
    seen: list[bytes] = []

    async def answer(request: bytes, _: Any) -> bytes:
        seen.append(request)
        return request

    async with grpc_server(answer) as target:
        requests = [Request(target, METHOD, body=bytes([number]), grpc=True) for number in range(10)]
        made = await many.load(requests, 3, 5, once=True)
    assert made.calls == 10
    assert sorted(seen) == [request.body for request in requests]


async def test_a_refusal_ends_the_load() -> None:
    async def refuse(_: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.INTERNAL, "broken")

    async with grpc_server(refuse) as target:
        with pytest.raises(WrongAnswer, match="broken"):
            await many.load([Request(target, METHOD, body=b"", grpc=True)], 2, 5)
    async with http_server("503 Service Unavailable") as target:
        with pytest.raises(WrongAnswer, match="503"):
            await many.load([Request(target, "/", {}, b"{}")], 2, 5)
