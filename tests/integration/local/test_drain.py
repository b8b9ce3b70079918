"""Envoy is stopped under load: every call that reached a service is answered."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from grpc import aio

from services.compiler.contract import load_contract
from services.compiler.envoy import LocalSettings, local, socket_path, write_bootstrap
from services.deployment.pki import ensure_pki
from services.local.envoy import envoy_process
from services.local.layout import Layout
from services.local.orphans import Register
from services.local.supervised import SupervisedProcess
from tests.support.edge import Replica, write_discovery
from tests.support.http import plain_http
from tests.support.ports import free_port
from tests.support.serving import Signer, short_folder
from tests.support.waiting import eventually, paced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIST = "/azora.education.v1.CourseService/ListCourses"
CALLERS = 6


@asynccontextmanager
async def envoy(replica: Replica, port: int) -> AsyncIterator[SupervisedProcess]:
    """Run Envoy as `azora up` does, with `replica` for every service."""
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(short_folder())
        for name in (*load_contract().owners, "gateway"):
            service = replica if name == "education" else Replica(replica.signer)
            await service.start(socket_path(folder, name))
            stack.push_async_callback(service.server.stop, None)
        ensure_pki(folder / "pki")
        profile = local(LocalSettings(runtime=folder, pki=folder / "pki", port=port, rate_limit_scale=10_000))
        layout = Layout(folder, folder)
        layout.logs.mkdir()
        write_discovery(profile)
        write_bootstrap(profile, layout.bootstrap)
        process = SupervisedProcess(envoy_process(layout, ""), Register(folder / "processes.json"), lambda _: None)
        await process.start()
        yield process
        await process.stop()


async def _slowly(_call: Any, _context: Any) -> bytes:
    async for _ in paced(1, 0.05):
        pass
    return b""


async def _over_grpc(port: int, ended: Counter[str]) -> None:
    """Call one after another over a connection that is kept, until nobody listens any more."""
    async with aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_retries", 0)]) as channel:
        method: Any = channel.unary_unary(LIST)
        while True:
            try:
                await method(b"")
            except aio.AioRpcError as error:
                ended[error.details() or ""] += 1
                return
            ended["ok"] += 1


async def _over_json(port: int, ended: Counter[str]) -> None:
    async with plain_http(f"http://127.0.0.1:{port}") as client:
        while True:
            try:
                answer = await client.get("/v1/courses")
            except httpx.ConnectError:
                return
            ended["ok" if answer.status_code == httpx.codes.OK else answer.text] += 1


async def test_every_call_that_reached_a_service_is_answered() -> None:
    replica, port, ended = Replica(Signer(), {"ListCourses": _slowly}), free_port(), Counter[str]()
    async with envoy(replica, port) as process:
        calling = [asyncio.create_task(call(port, ended)) for call in (_over_grpc, _over_json) for _ in range(CALLERS)]

        async def busy() -> bool:
            return ended["ok"] > 4 * CALLERS

        await eventually(busy)
        async with asyncio.timeout(process.spec.stop_seconds):
            await process.stop()
        await asyncio.gather(*calling)
        assert ended["ok"] == len(replica.received), ended
