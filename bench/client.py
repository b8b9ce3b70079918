"""Requests: one that is checked, and a lean closed loop for machines without h2load."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from grpc import aio

from bench.errors import WrongAnswer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

ANSWER_SECONDS = 30
EXCERPT_CHARACTERS = 300
HEALTH = "/grpc.health.v1.Health/Check"
PAY = "/azora.payment.v1.PaymentService/CreatePayment"
FROM_ENVOY = {
    "x-request-id": "5d8f6c1e-3b6a-4c55-9e0f-0c6e6a0a9a11",
    "x-forwarded-for": "192.0.2.1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
}
"""What Envoy adds to every call."""
FRAME_BYTES = 5
"""What gRPC puts before a message."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, sent again and again: JSON over HTTP/1.1, or gRPC."""

    target: str
    """http://HOST:PORT, or for gRPC also unix:PATH."""
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """JSON, which makes it a POST, or a gRPC message without its frame; None is a GET."""
    grpc: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """What a closed loop of callers saw."""

    calls: int
    elapsed_seconds: float
    latencies_seconds: list[float]
    body_bytes: int


async def call(request: Request) -> bytes:
    """Send the request once and return the answer's body, for gRPC the message. Raises WrongAnswer."""
    async with sender(request) as send, asyncio.timeout(ANSWER_SECONDS):
        return await send()


async def load(request: Request, callers: int, seconds: float) -> Load:
    """Let `callers`, each with a connection of its own, send the request again and again. Raises WrongAnswer."""
    latencies: list[float] = []
    size = 0
    begin = time.perf_counter()
    end = begin + seconds

    async def caller() -> None:
        nonlocal size
        async with sender(request) as send:
            while (sent := time.perf_counter()) < end:
                answer = await send()
                size += len(answer) + FRAME_BYTES * request.grpc  # Not in one: others add to it meanwhile.
                latencies.append(time.perf_counter() - sent)

    try:
        async with asyncio.timeout(seconds + ANSWER_SECONDS), asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(caller())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return Load(len(latencies), time.perf_counter() - begin, latencies, size)


@asynccontextmanager
async def sender(request: Request) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
    """Connect; give what sends the request and returns the answer's body."""
    if request.grpc:
        # A subchannel pool of its own: or all callers share one connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with aio.insecure_channel(request.target.removeprefix("http://"), options=options) as channel:
            send: Any = channel.unary_unary(request.path)
            metadata = tuple(request.headers.items())
            yield lambda: _grpc(send, request.body or b"", metadata)
        return
    address = urlsplit(request.target)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        message = _http_message(request, str(address.netloc))
        yield lambda: _http(reader, writer, message)
    finally:
        writer.close()


async def _grpc(send: Any, body: bytes, metadata: tuple[tuple[str, str], ...]) -> bytes:
    try:
        answer: bytes = await send(body, metadata=metadata, timeout=ANSWER_SECONDS)
    except aio.AioRpcError as error:
        raise WrongAnswer(f"{error.code().name}: {error.details()}") from None
    return answer


def _http_message(request: Request, host: str) -> bytes:
    headers = {"host": host, **request.headers}
    if request.body is not None:
        headers |= {"content-type": "application/json", "content-length": str(len(request.body))}
    method = "GET" if request.body is None else "POST"
    lines = [f"{method} {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + (request.body or b"")


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> bytes:
    """Send one request on the connection and return the body, which must have a content-length."""
    writer.write(message)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = await reader.readexactly(int(headers["content-length"]))
    if not head[0].startswith("HTTP/1.1 200 "):
        raise WrongAnswer(f"{head[0]}: {body.decode(errors='replace')[:EXCERPT_CHARACTERS]}")
    return body
