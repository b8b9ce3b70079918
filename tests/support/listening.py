"""Servers of plain connections: when one ends, none of the connections that it accepted is left open."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
    *,
    path: Path | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Have `serve` serve each connection to a port of 127.0.0.1, or to a unix socket at `path`; give the port, or 0.

    A connection is closed when `serve` returns, and at the end, where those that are still served are cancelled.
    """
    served: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        served[task] = writer
        task.add_done_callback(ended)  # Of one that ends before it begins, too.

    def ended(task: asyncio.Task[None]) -> None:
        served[task].close()
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, OSError | asyncio.IncompleteReadError):
            task.get_loop().call_exception_handler({"message": "a connection was not served", "exception": error})

    if path is None:
        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    else:
        server = await asyncio.start_unix_server(accept, path)
    try:
        yield 0 if path else server.sockets[0].getsockname()[1]
    finally:
        await _end_accepting(server)
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)
        await asyncio.gather(*(writer.wait_closed() for writer in served.values()), return_exceptions=True)


async def _end_accepting(server: asyncio.Server) -> None:
    """Close a server when it has been told of all that asyncio has accepted: of those after, no socket is closed."""
    asyncio.get_running_loop().remove_reader(server.sockets[0].fileno())
    late = [task for task in asyncio.all_tasks() if "_accept_connection" in getattr(task.get_coro(), "__name__", "")]
    await asyncio.gather(*late, return_exceptions=True)
    server.close()
