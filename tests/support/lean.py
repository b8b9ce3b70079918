"""A client that costs little, for load on a machine that has to serve it as well: JSON over HTTP/1.1, kept connections.

A call takes a fraction of the CPU that it takes with gRPC's client: requests are encoded beforehand, and of answers no
more is read than how a call ended.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

STATUS = slice(len("HTTP/1.1 "), len("HTTP/1.1 200"))
END_OF_HEADERS, LENGTH = b"\r\n\r\n", b"content-length: "


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended."""

    status: int
    seconds: float
    content: bytes
    """Headers and body, as they came."""


def encoded(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a POST request as it is sent."""
    named = {"host": "localhost", "content-type": "application/json", "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in (named | dict(headers or {})).items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


class LeanClient:
    """Connections, each of which waits for one answer at a time; a request that finds none free waits for one."""

    def __init__(self) -> None:
        self.idle: list[_Connection] = []
        self.waiting: deque[tuple[bytes, asyncio.Future[Answer]]] = deque()

    @classmethod
    @asynccontextmanager
    async def connected(cls, port: int, *, connections: int) -> AsyncIterator[LeanClient]:
        """Open so many connections to a port of this machine."""
        client, loop = cls(), asyncio.get_running_loop()
        opened = [
            (await loop.create_connection(lambda: _Connection(client), "127.0.0.1", port))[0]
            for _ in range(connections)
        ]
        # The edge closes connections on which nothing was asked within seconds.
        await asyncio.gather(*(client.send(encoded("/nowhere", b"")) for _ in opened))
        try:
            yield client
        finally:
            for transport in opened:
                transport.close()

    def send(self, request: bytes) -> asyncio.Future[Answer]:
        """Send a request."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if self.idle:
            self.idle.pop().send(request, answer)
        else:
            self.waiting.append((request, answer))
        return answer


class _Connection(asyncio.Protocol):
    def __init__(self, client: LeanClient) -> None:
        self._client = client
        self._received = b""
        self._sent_at = 0.0
        self._answer: asyncio.Future[Answer]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._client.idle.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self._client.idle:
            self._client.idle.remove(self)
        elif not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed before the answer"))

    def send(self, request: bytes, answer: asyncio.Future[Answer]) -> None:
        self._answer = answer
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data
        headers, found, body = received.partition(END_OF_HEADERS)
        if found and len(body) == int(headers.partition(LENGTH)[2].partition(b"\r\n")[0]):
            self._received = b""
            self._answer.set_result(Answer(int(received[STATUS]), time.perf_counter() - self._sent_at, received))
            if self._client.waiting:
                self.send(*self._client.waiting.popleft())
            else:
                self._client.idle.append(self)
