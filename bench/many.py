"""Load from many callers, each with requests of its own: closed loops over HTTP/1.1, and over HTTP/2 for gRPC.

h2load sends one request again and again, which would be one payer. Requests are encoded beforehand, and of answers is
read what says that they were a success: a call costs this process a tenth of what a client library would.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.client import FRAME_BYTES, Load
from bench.errors import WrongAnswer
from tests.support.http2 import ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, frame
from tests.support.http2 import block as header_block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.client import Request

CONNECTIONS = 4
"""Of gRPC callers, who share them."""
HEAD_BYTES = 9
PING = 6
NO_TABLE = (1).to_bytes(2, "big") + (0).to_bytes(4, "big")
"""SETTINGS: no dynamic table, so that trailers are readable one by one."""
LARGE_WINDOW = (4).to_bytes(2, "big") + (2**31 - 1).to_bytes(4, "big")
WINDOW = 2**31 - 1 - 65_535
SUCCESS = b"grpc-status\x010"
SPARE_SECONDS = 30


@dataclass(slots=True)
class Tally:
    """What all callers have seen."""

    end: float
    requests: Iterator[bytes]
    latencies: list[float] = field(default_factory=list)
    running: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    failure: bytes = b""
    transports: list[asyncio.BaseTransport] = field(default_factory=list)

    def next(self) -> tuple[bytes, float] | None:
        """Return the next request and the time, or None when the load is over."""
        now = time.perf_counter()
        request = None if self.failure or now >= self.end else next(self.requests, None)
        return None if request is None else (request, now)

    def done(self) -> None:
        """Count a caller that has ended."""
        self.running -= 1
        if not self.running:
            self.over.set()

    def fail(self, answer: bytes) -> None:
        """End the load: an answer was no success."""
        self.failure = self.failure or answer[:300]
        self.over.set()


class _Http(asyncio.Protocol):
    """One caller over HTTP/1.1."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._buffer = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tally.transports.append(transport)
        self._transport: asyncio.Transport = transport  # type: ignore[assignment] # TCP's
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self._tally.fail(self._buffer)
        self._buffer = b""
        self._tally.latencies.append(time.perf_counter() - self._sent)
        self._send()

    def _send(self) -> None:
        following = self._tally.next()
        if following is None:
            self._tally.done()
            return
        self._sent = following[1]
        self._transport.write(following[0])


class _Grpc(asyncio.Protocol):
    """Some callers over one HTTP/2 connection."""

    def __init__(self, tally: Tally, callers: int) -> None:
        self._tally = tally
        self._callers = callers
        self._buffer = bytearray()
        self._sent: dict[int, float] = {}
        self._stream = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tally.transports.append(transport)
        self._transport: asyncio.Transport = transport  # type: ignore[assignment] # TCP's, or a unix socket's
        self._transport.write(
            PREFACE
            + frame(SETTINGS, 0, 0, NO_TABLE + LARGE_WINDOW)
            + frame(WINDOW_UPDATE, 0, 0, WINDOW.to_bytes(4, "big"))
        )
        for _ in range(self._callers):
            self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= HEAD_BYTES:
            size = HEAD_BYTES + int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < size:
                return
            kind, flags = self._buffer[3], self._buffer[4]
            stream, payload = int.from_bytes(self._buffer[5:9], "big"), bytes(self._buffer[HEAD_BYTES:size])
            del self._buffer[:size]
            if kind == HEADERS and flags & END_STREAM:
                if SUCCESS not in payload:
                    self._tally.fail(payload)
                self._tally.latencies.append(time.perf_counter() - self._sent.pop(stream))
                self._send()
            elif kind in (SETTINGS, PING) and not flags & ACK:
                self._transport.write(frame(kind, ACK, 0, payload if kind == PING else b""))

    def _send(self) -> None:
        following = self._tally.next()
        if following is None:
            self._tally.done()
            return
        self._stream += 2
        self._sent[self._stream] = following[1]
        number, (head, body) = self._stream.to_bytes(4, "big"), _split(following[0])
        self._transport.write(head[:5] + number + head[9:] + body[:5] + number + body[9:])


def _split(encoded: bytes) -> tuple[bytes, bytes]:
    """Return the frames of a request: its headers, and its message."""
    size = HEAD_BYTES + int.from_bytes(encoded[:3], "big")
    return encoded[:size], encoded[size:]


async def load(requests: Sequence[Request], callers: int, seconds: float, *, once: bool = False) -> Load:
    """Let `callers` send requests, each time one at random, or each request `once`, until none is left.

    Raises WrongAnswer unless all succeed.
    """
    first, loop = requests[0], asyncio.get_running_loop()
    encode = _grpc_request if first.grpc else _http_request
    encoded = [encode(request) for request in requests]
    at_random = (random.choice(encoded) for _ in itertools.count())  # noqa: S311 - a load
    tally = Tally(0, iter(encoded) if once else at_random, running=callers)
    connections = min(CONNECTIONS, callers) if first.grpc else callers
    shares = [len(range(number, callers, connections)) for number in range(connections)]
    begun = time.perf_counter()
    tally.end = begun + seconds
    for share in shares:
        made: Callable[[], asyncio.Protocol] = (
            (lambda share=share: _Grpc(tally, share)) if first.grpc else lambda: _Http(tally)  # type: ignore[misc]
        )
        if first.target.startswith("unix:"):
            await loop.create_unix_connection(made, first.target.removeprefix("unix:"))
        else:
            address = urlsplit(first.target)
            await loop.create_connection(made, address.hostname or "", address.port or 80)
    try:
        async with asyncio.timeout(seconds + SPARE_SECONDS):
            await tally.over.wait()
    finally:
        for transport in tally.transports:
            transport.close()
    if tally.failure:
        raise WrongAnswer(f"{first.path}: {tally.failure!r}")
    return Load(len(tally.latencies), time.perf_counter() - begun, tally.latencies, 0)


def _grpc_request(request: Request) -> bytes:
    pseudo = {":method": "POST", ":scheme": "http", ":path": request.path, ":authority": "localhost"}
    fields = {"content-type": "application/grpc", "te": "trailers", **request.headers}
    body = request.body or b""
    message = b"\0" + len(body).to_bytes(FRAME_BYTES - 1, "big") + body
    return frame(HEADERS, END_HEADERS, 0, header_block(pseudo | fields)) + frame(DATA, END_STREAM, 0, message)


def _http_request(request: Request) -> bytes:
    body = request.body or b""
    fields = {"host": urlsplit(request.target).netloc, **request.headers, "content-length": str(len(body))}
    fields |= {"content-type": "application/json"} if body else {}
    method = "GET" if request.body is None else "POST"
    lines = [f"{method} {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode() + body
