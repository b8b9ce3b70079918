"""What a running Envoy learns from files: replicas that come and go, and certificates that are renewed."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from azora.client import MeshIdentity, connect
from grpc import aio

from services.compiler.envoy import Certificate, socket_path
from services.deployment.pki import ensure_pki
from services.local.envoy import admin_client
from tests.support.edge import running_edge
from tests.support.serving import short_folder
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.edge import Edge

pytestmark = pytest.mark.asyncio(loop_scope="session")

EARN = "/azora.payment.v1.PaymentService/Earn"
PAUSE_SECONDS = 0.01


async def test_replicas_come_and_go_without_a_restart() -> None:
    async with running_edge() as edge, calling(edge) as statuses:
        (first,) = edge.replicas["payment"]
        second = await edge.add("payment")

        async def is_asked() -> bool:
            return bool(second.received)

        async def is_only_one() -> bool:
            return await hosts(edge, "payment") == {str(socket_path(edge.folder, "payment", 1))}

        edge.publish("payment", 0, 1)
        await eventually(is_asked)
        edge.publish("payment", 1)
        await eventually(is_only_one)
        await edge.stop(first)
        second.received.clear()
        await eventually(is_asked)
    assert set(statuses) == {200}


async def test_renewed_certificates_reach_a_running_envoy() -> None:
    async with short_folder() as folder:
        ensure_pki(folder, ["public"])
        public = Certificate(f"{folder}/public.crt", f"{folder}/public.key")
        async with running_edge(public_certificate=public) as edge, calling(edge) as statuses:
            before = await shown(edge)
            (edge.folder / "pki/envoy.crt").unlink()
            (folder / "public.crt").unlink()
            assert ensure_pki(edge.folder / "pki") == ["envoy"]
            assert ensure_pki(folder, ["public"]) == ["public"]

            async def are_renewed() -> bool:
                return before.isdisjoint(await shown(edge))

            await eventually(are_renewed)
        assert set(statuses) == {200}


async def test_a_new_authority_is_trusted_and_the_one_before_it_is_not() -> None:
    async with running_edge() as edge:
        pki, before = edge.folder / "pki", edge.folder / "before"
        shutil.copytree(pki, before)
        assert await is_admitted(edge, before)
        (pki / "ca.crt").unlink()
        assert "ca" in ensure_pki(pki)

        async def is_new() -> bool:
            return await is_admitted(edge, pki)

        await eventually(is_new)
        assert not await is_admitted(edge, before)


async def hosts(edge: Edge, service: str) -> set[str]:
    """Return the addresses of a service's replicas that Envoy knows."""
    async with admin_client(Path(edge.profile.admin.path)) as admin:
        lines = (await admin.get("/clusters")).text.splitlines()
    parts = [line.split("::") for line in lines]
    return {part[1] for part in parts if part[0] == service and part[1].endswith(".sock")}


@asynccontextmanager
async def calling(edge: Edge) -> AsyncIterator[list[int]]:
    """Call Payment through the public port until the end of the block; give the status of each answer."""
    statuses: list[int] = []
    ended = asyncio.Event()

    async def call() -> None:
        async with httpx.AsyncClient(base_url=edge.url, verify=False, headers=edge.bearer()) as http:  # noqa: S501
            while not ended.is_set():
                statuses.append((await http.get("/v1/wallet")).status_code)
                with suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), PAUSE_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(call())
        yield statuses
        ended.set()


async def shown(edge: Edge) -> set[bytes]:
    """Return the certificates that Envoy shows to clients and to services."""
    return {
        await asyncio.to_thread(certificate_of, edge, "127.0.0.1", edge.profile.public.port),
        await asyncio.to_thread(certificate_of, edge, str(edge.folder / "mesh.sock")),
    }


def certificate_of(edge: Edge, host: str, port: int | None = None) -> bytes:
    """Return the certificate of a server, to which this one shows Education's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(edge.folder / "pki/education.crt", edge.folder / "pki/education.key")
    with socket.socket(socket.AF_UNIX if port is None else socket.AF_INET) as raw:
        raw.connect(host if port is None else (host, port))
        with context.wrap_socket(raw) as connection:
            return connection.getpeercert(binary_form=True) or b""


async def is_admitted(edge: Edge, pki: Path) -> bool:
    """Whether Education reaches Payment with a certificate of a folder."""
    identity = MeshIdentity(pki / "education.crt", pki / "education.key", pki / "ca.crt")
    async with connect(f"unix:{edge.folder}/mesh.sock", identity=identity) as channel:
        try:
            await channel.unary_unary(EARN)(b"", timeout=5)  # type: ignore[arg-type]
        except aio.AioRpcError:
            return False
    return True
