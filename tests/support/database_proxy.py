"""A proxy of PostgreSQL's socket that loses answers, or falls silent like a host that is gone without a word."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.support.listening import listening
from tests.support.serving import short_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(slots=True)
class DatabaseProxy:
    """Passes a database's protocol on, and cuts the connection instead of the answer to the next `cuts` COMMITs."""

    target: str
    cuts: int = 0
    cut: int = 0
    connections: int = 0
    """How many there were."""
    silenced: int = 0
    """How many of them, from the first, are silent."""

    def silence(self) -> None:
        """Let nothing pass any more on the connections that there are: they stay open. Those to come are served."""
        self.silenced = self.connections

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it, or if it is silent until the proxy ends."""
        number, self.connections = self.connections, self.connections + 1
        from_server, to_server = await asyncio.open_unix_connection(self.target)
        committing = asyncio.Event()

        async def requests() -> None:
            while data := await reader.read(65536):
                await self._wait_if_silent(number)
                if b"COMMIT\0" in data:
                    committing.set()
                to_server.write(data)
            to_server.close()

        forwarding = asyncio.create_task(requests())
        try:
            while data := await from_server.read(65536):
                await self._wait_if_silent(number)
                if committing.is_set() and self.cut < self.cuts:
                    self.cut += 1
                    return
                committing.clear()
                writer.write(data)
        except ConnectionError:
            return
        finally:
            forwarding.cancel()
            to_server.close()

    async def _wait_if_silent(self, number: int) -> None:
        if number < self.silenced:
            await asyncio.Event().wait()


@asynccontextmanager
async def database_proxy(url: str) -> AsyncIterator[tuple[str, DatabaseProxy]]:
    """Give the URL of a proxy of a database on a unix socket, and the proxy."""
    query = urlsplit(url).query
    host, port = (parse_qs(query)[name][0] for name in ("host", "port"))
    async with short_folder() as folder:
        proxy = DatabaseProxy(f"{host}/.s.PGSQL.{port}")
        async with listening(proxy.relay, path=folder / f".s.PGSQL.{port}"):
            yield url.replace(query, f"host={folder}&port={port}"), proxy
