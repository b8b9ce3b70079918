"""A proxy that loses answers: the server has done its work, and the client cannot know."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
    relays: set[asyncio.Task[None]] = field(default_factory=set)
    """The connections that are served now."""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    """Those of all connections."""
    closed: bool = False

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection beside the others, or close it at once: it may come while the proxy closes."""
        self.writers.append(writer)
        if self.closed:
            writer.close()
            return
        task = asyncio.create_task(self.relay(reader, writer))
        self.relays.add(task)
        task.add_done_callback(self.relays.discard)
        task.add_done_callback(lambda _task: writer.close())  # Of one that ends before it begins, too.

    async def close(self) -> None:
        """End all connections, and wait until they are closed."""
        self.closed = True
        for relay in self.relays:
            relay.cancel()
        await asyncio.gather(*self.relays, return_exceptions=True)
        await asyncio.gather(*(writer.wait_closed() for writer in self.writers), return_exceptions=True)

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
    proxy, path = CuttingProxy(target, cuts), f"{target.removeprefix('unix:')}.cut"
    server = await asyncio.start_unix_server(proxy.accept, path)
    try:
        yield f"unix:{path}", proxy
    finally:
        # What asyncio has accepted, and not yet told of: of a server that is closed by then it would close no socket.
        asyncio.get_running_loop().remove_reader(server.sockets[0].fileno())
        late = [
            task for task in asyncio.all_tasks() if "_accept_connection" in getattr(task.get_coro(), "__name__", "")
        ]
        await asyncio.gather(*late, return_exceptions=True)
        server.close()
        await proxy.close()
