"""A relay whose connections fall silent: what a client sees of a PostgreSQL whose host is gone without a word."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from tests.support.serving import short_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SOCKET = ".s.PGSQL.5432"


@dataclass(slots=True)
class SilencingRelay:
    """Passes on between unix sockets. Silenced connections stay open, and nothing passes any more."""

    target: str
    connections: list[asyncio.Task[None]] = field(default_factory=list)
    silenced: int = 0
    """How many of the connections, from the first, are silent."""

    def silence(self) -> None:
        """Silence the connections that there are, not those that are yet to come."""
        self.silenced = len(self.connections)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection until either side ends it, or for as long as the relay if it was silenced."""
        task = asyncio.current_task()
        assert task is not None
        number = len(self.connections)
        self.connections.append(task)
        from_server, to_server = await asyncio.open_unix_connection(self.target)
        try:
            await asyncio.gather(self._pass_on(number, reader, to_server), self._pass_on(number, from_server, writer))
        except ConnectionError:
            pass
        finally:
            to_server.close()
            writer.close()

    async def _pass_on(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if number < self.silenced:
                await asyncio.Future()
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def silencing(url: str) -> AsyncIterator[tuple[str, SilencingRelay]]:
    """Give the URL of a relay to a PostgreSQL on a unix socket, and the relay."""
    parsed = make_url(url)
    relay = SilencingRelay(str(Path(str(parsed.query["host"])) / SOCKET))
    async with short_folder() as folder:
        server = await asyncio.start_unix_server(relay.accept, Path(folder) / SOCKET)
        try:
            yield parsed.update_query_dict({"host": str(folder)}).render_as_string(hide_password=False), relay
        finally:
            server.close()
            for connection in relay.connections:
                connection.cancel()
            await asyncio.gather(*relay.connections, return_exceptions=True)
