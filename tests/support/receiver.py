"""A real HTTP server that receives webhooks, and answers as it is told to."""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.support.listening import listening

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

CHUNK = b"x" * 65_536
INTERIM = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000
TEN_MEGABYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def id(self) -> str:
        """The event's id."""
        return self.headers["webhook-id"]


@dataclass(slots=True)
class Receiver:
    """What was received, and what is answered: `answers` in turn, and then 204."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    answers: deque[Answer] = field(default_factory=deque)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: answers that wait for it are given."""
    in_flight: int = 0
    max_in_flight: int = 0
    bytes_written: int = 0

    @property
    def url(self) -> str:
        """The URL of a webhook."""
        return f"http://127.0.0.1:{self.port}/azora?of=tests"

    async def got(self, count: int) -> bool:
        """Whether so many requests have come."""
        return len(self.received) >= count

    async def idle(self) -> bool:
        """Whether no request is being answered."""
        return not self.in_flight

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the one request of a connection."""
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                body = await reader.readexactly(int(headers["content-length"]))
                self.received.append(Received(head[0], headers, body))
                answer = self.answers.popleft() if self.answers else status(204)
                await answer(self, writer)
        finally:
            self.in_flight -= 1


Answer: TypeAlias = "Callable[[Receiver, asyncio.StreamWriter], Awaitable[None]]"


def status(code: int, *headers: str) -> Answer:
    """Answer with a status."""

    async def answer(_: Receiver, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {code} Told", "content-length: 0", *headers, "", ""]
        writer.write("\r\n".join(lines).encode())
        await writer.drain()

    return answer


async def hang(receiver: Receiver, _: asyncio.StreamWriter) -> None:
    """Say nothing until the gate opens, and then nothing either."""
    await receiver.gate.wait()


async def wait(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
    """Answer with 204 when the gate opens."""
    await receiver.gate.wait()
    await status(204)(receiver, writer)


async def close_early(_: Receiver, writer: asyncio.StreamWriter) -> None:
    """Close in the middle of the head."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-le")
    await writer.drain()


async def cut_body(_: Receiver, writer: asyncio.StreamWriter) -> None:
    """Close in the middle of the body."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    await writer.drain()


async def ten_megabytes(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
    """Answer with a body that is too large, for as long as anybody reads."""
    receiver.bytes_written = 0
    writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {TEN_MEGABYTES}\r\n\r\n".encode())
    while receiver.bytes_written < TEN_MEGABYTES:
        writer.write(CHUNK)
        await writer.drain()
        receiver.bytes_written += len(CHUNK)


async def endless_head(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
    """Answer with headers, for as long as anybody reads."""
    receiver.bytes_written = 0
    writer.write(b"HTTP/1.1 200 OK\r\nx: ")
    while receiver.bytes_written < TEN_MEGABYTES:
        writer.write(CHUNK)
        await writer.drain()
        receiver.bytes_written += len(CHUNK)


async def endless_interim(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
    """Answer with interim responses, for as long as anybody reads."""
    receiver.bytes_written = 0
    while receiver.bytes_written < TEN_MEGABYTES:
        writer.write(INTERIM)
        await writer.drain()
        receiver.bytes_written += len(INTERIM)


async def break_tls(_: Receiver, writer: asyncio.StreamWriter) -> None:
    """Answer over TLS with what is none."""
    os.write(writer.get_extra_info("socket").fileno(), CHUNK)
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()


@asynccontextmanager
async def receiving(*, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Run a receiver on a port of 127.0.0.1."""
    receiver = Receiver()
    async with listening(receiver.serve, tls=tls) as receiver.port:
        yield receiver
