"""A proxy that loses answers: the server has done its work, and the client cannot know."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.listening import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEADERS_FRAME = 1
FRAME_HEAD_BYTES = 9


@dataclass(slots=True)
class CuttingProxy:
    """Passes HTTP/2 on between unix sockets, and cuts the connection instead of each of the next `cuts` answers."""

    target: str
    cuts: int = 1
    cut: int = 0

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        from_server, to_server = await asyncio.open_unix_connection(self.target.removeprefix("unix:"))
        requests = asyncio.create_task(_pass_on(reader, to_server))
        try:
            while True:
                head = await from_server.readexactly(FRAME_HEAD_BYTES)
                if head[3] == HEADERS_FRAME and self.cut < self.cuts:
                    self.cut += 1
                    return
                writer.write(head + await from_server.readexactly(int.from_bytes(head[:3])))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            requests.cancel()
            to_server.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def cutting(target: str, cuts: int = 1) -> AsyncIterator[tuple[str, CuttingProxy]]:
    """Give the target of a proxy in front of `target`, and the proxy."""
    proxy, path = CuttingProxy(target, cuts), Path(f"{target.removeprefix('unix:')}.cut")
    async with listening(proxy.relay, path=path):
        yield f"unix:{path}", proxy
