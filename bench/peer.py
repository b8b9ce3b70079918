"""The peer: a gRPC server in a process of its own that does nothing but answer. Nothing on this stack can be faster."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import uvloop
from grpc import aio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

PATH = "/azora.bench.v1.EchoService/Echo"
MESSAGE = b"x" * 100


@asynccontextmanager
async def echo_peer() -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Start the peer; give a call to it."""
    with tempfile.TemporaryDirectory(prefix="azb") as folder:
        target = f"unix:{Path(folder) / 'echo'}"
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.peer", target)
        try:
            async with aio.insecure_channel(target) as channel:
                echo: Any = channel.unary_unary(PATH)
                await echo(MESSAGE, wait_for_ready=True, timeout=10)
                yield lambda: echo(MESSAGE)
        finally:
            process.terminate()
            await process.wait()


async def _serve(target: str) -> None:
    async def echo(request: bytes, _: Any) -> bytes:
        return request

    server = aio.server()
    service, method = PATH.removeprefix("/").split("/")
    handler = grpc.method_handlers_generic_handler(service, {method: grpc.unary_unary_rpc_method_handler(echo)})
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(target)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
