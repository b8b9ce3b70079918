"""HTTP/2 by hand (RFC 9113), for what no client library sends: half of a body, wrong headers, trailers of a request."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, WINDOW_UPDATE, CONTINUATION = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    8,
    9,
)
ACK = END_STREAM = 1
END_HEADERS = 4
FRAME_BYTES = 16_384
SEVEN_BITS = 127


@dataclass(slots=True)
class Connection:
    """One connection whose frames a test writes; what comes back is read and left aside."""

    writer: asyncio.StreamWriter
    reading: asyncio.Task[bytes]
    _last: int = -1

    async def open(
        self, path: str, headers: Mapping[str, str], *, method: str = "POST", flags: int = END_HEADERS
    ) -> int:
        """Begin a request whose body is to follow, unless `flags` say otherwise; return its stream."""
        self._last += 2
        pseudo = {":method": method, ":scheme": "http", ":path": path, ":authority": "localhost"}
        await self.send(HEADERS, flags, self._last, block(pseudo | dict(headers)))
        return self._last

    async def data(self, stream: int, content: bytes) -> None:
        """Send a part of a body."""
        for start in range(0, len(content), FRAME_BYTES):
            await self.send(DATA, 0, stream, content[start : start + FRAME_BYTES])

    async def trailers(self, stream: int, headers: Mapping[str, str]) -> None:
        """End a request with trailers."""
        await self.send(HEADERS, END_HEADERS | END_STREAM, stream, block(headers))

    async def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Send a frame as it is. Raises ConnectionError when the other side has closed the connection."""
        self.writer.write(frame(kind, flags, stream, payload))
        await self.writer.drain()


@asynccontextmanager
async def connection(port: int, *, reads: bool = True) -> AsyncIterator[Connection]:
    """Open a connection to a port of this machine, which reads what comes or does not; it closes with the block."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE + frame(SETTINGS, 0, 0, b"") + frame(SETTINGS, ACK, 0, b""))
    reading = asyncio.create_task(reader.read(-1 if reads else 1))
    try:
        yield Connection(writer, reading)
    finally:
        writer.close()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def block(headers: Mapping[str, str]) -> bytes:
    """Encode headers literally, without an index (RFC 7541 section 6.2.2)."""
    return b"".join(b"\0" + text(name) + text(value) for name, value in headers.items())


def text(content: str) -> bytes:
    """Return a string as headers hold it, without Huffman coding (RFC 7541 section 5.2)."""
    size = len(content)
    if size < SEVEN_BITS:
        return bytes((size,)) + content.encode()
    rest, encoded = size - SEVEN_BITS, bytes((SEVEN_BITS,))
    while rest > SEVEN_BITS:
        encoded += bytes((rest % 128 + 128,))
        rest //= 128
    return encoded + bytes((rest,)) + content.encode()
