"""Starting processes from one in which gRPC works, as the tests do."""

from __future__ import annotations

import asyncio
import collections
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

from services.local.processes import Command, spawn
from tests.support.serving import short_folder

if TYPE_CHECKING:
    from pathlib import Path

CHILDREN = 60


async def test_children_of_a_process_that_speaks_grpc_start_well(tmp_path: Path) -> None:
    async def echo(request: bytes, _: Any) -> bytes:
        return request

    async with short_folder() as folder:
        server = aio.server()
        method: Any = grpc.unary_unary_rpc_method_handler(echo)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", {"Echo": method}),))
        server.add_insecure_port(f"unix:{folder}/echo")
        await server.start()
        async with aio.insecure_channel(f"unix:{folder}/echo") as channel:
            talking = [asyncio.create_task(_talk(channel)) for _ in range(8)]
            codes: collections.Counter[int] = collections.Counter()
            for _ in range(CHILDREN):
                child = await spawn(Command(arguments=["/bin/true"], environment={}, log=tmp_path / "log"))
                codes[await child.wait()] += 1
            for task in talking:
                task.cancel()
            await asyncio.gather(*talking, return_exceptions=True)
        await server.stop(0)
    assert codes == {0: CHILDREN}


async def _talk(channel: aio.Channel) -> None:
    echo: Any = channel.unary_unary("/t.T/Echo")
    while True:
        await echo(b"x")
