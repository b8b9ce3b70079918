"""kill -9 of the service, and of PostgreSQL, in mid-load: nothing is lost, doubled or half done.

`pytest tests/faults --kills 10` kills each of them ten times in a row.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import signal
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.local import postgres
from services.local.errors import ProcessFailed
from services.local.orphans import Register
from services.local.processes import Command
from services.local.supervised import ProcessSpec, SupervisedProcess
from services.shared.ids import new_id
from services.shared.migrations import upgrade
from tests.support.api_ledger import Callers, PersistentLedger
from tests.support.checker import History, check, load
from tests.support.mesh import Auth
from tests.support.postgres import passable_folder
from tests.support.serving import Signer, short_folder
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CALLERS, CALLS = 10, 8
QUICK = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 300)]


@dataclass(frozen=True)
class System:
    """Payment and PostgreSQL, each a process that is restarted when it ends."""

    database: SupervisedProcess
    service: SupervisedProcess
    signer: Signer
    target: str


@asynccontextmanager
async def supervised(process: SupervisedProcess) -> AsyncIterator[SupervisedProcess]:
    """Start a process, and restart it whenever it ends."""
    await process.start()

    async def restart() -> None:  # However often: `watch` gives a process up that ends quickly again and again.
        while True:
            await process._ended()
            with suppress(ProcessFailed):
                await process.start()

    watching = asyncio.create_task(restart())
    try:
        yield process
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await process.stop()


@asynccontextmanager
async def mesh(folder: Path, signer: Signer) -> AsyncIterator[str]:
    """Serve what Payment asks Auth for."""
    server = aio.server()
    Auth(signer).register(server)
    server.add_insecure_port(f"unix:{folder}/mesh.sock")
    await server.start()
    try:
        yield f"unix:{folder}/mesh.sock"
    finally:
        await server.stop(None)


def payment(folder: Path, cluster: postgres.Cluster, mesh_target: str) -> ProcessSpec:
    """Return how Payment is run."""
    target = f"unix:{folder}/payment.sock"
    environment = {
        **os.environ,
        "AZORA_ENV": "development",
        "AZORA_LISTEN": target,
        "AZORA_MESH_TARGET": mesh_target,
        "AZORA_DATABASE_URL": cluster.url("payment", "payment_app"),
        "AZORA_SECRET_KEY": base64.b64encode(os.urandom(32)).decode(),
        "AZORA_RATE_LIMIT_SCALE": "10000",
        "AZORA_DRAIN_SECONDS": "0",
    }

    async def ready() -> bool:
        async with aio.insecure_channel(target) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            try:
                answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=1)
            except aio.AioRpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    command = Command(
        arguments=(sys.executable, "-m", "services.payment"),
        environment=environment,
        log=folder / "payment.log",
    )
    return ProcessSpec(name="payment", command=command, ready=ready)


@pytest.fixture
async def system() -> AsyncIterator[System]:
    """Run both, PostgreSQL as in production: what it acknowledged it keeps."""
    signer = Signer()
    with passable_folder() as data:
        cluster, log = postgres.locate(data, durable=True), data / "postgres.log"
        register = Register(data / "processes.json")
        await cluster.initialise(log)
        try:
            async with (
                short_folder() as folder,
                mesh(folder, signer) as mesh_target,
                supervised(SupervisedProcess(cluster.process(log), register, lambda _: None)) as database,
            ):
                await cluster.provision(["payment"])
                await upgrade("payment", cluster.url("payment", "payment_owner"))
                spec = payment(folder, cluster, mesh_target)
                async with supervised(SupervisedProcess(spec, register, lambda _: None)) as service:
                    yield System(database, service, signer, f"unix:{folder}/payment.sock")
        finally:
            postgres.wipe(data)


@pytest.mark.parametrize("victim", ["service", "database"])
async def test_killed_in_mid_load_nothing_is_lost_or_doubled(
    system: System, victim: str, request: pytest.FixtureRequest
) -> None:
    history, chance = History([new_id() for _ in range(6)]), random.Random(2026)  # noqa: S311
    async with aio.insecure_channel(system.target, options=QUICK) as channel:
        ledger = PersistentLedger(channel, Callers.of(system.signer))
        for kill in range(1, request.config.getoption("kills") + 1):
            killed = getattr(system, victim)
            answered, unknown = len(history.answers), ledger.unknown
            loading = asyncio.create_task(load(ledger, history, chance, callers=CALLERS, calls=CALLS))

            async def in_mid_load(after: int = answered + CALLERS * CALLS // 3) -> bool:
                return len(history.answers) > after

            await eventually(in_mid_load, within_seconds=60)
            pid = killed.pid
            assert pid
            os.kill(pid, signal.SIGKILL)
            await loading
            assert killed.pid != pid
            assert ledger.unknown > unknown, "it was killed in mid-load"
            assert await check(ledger, history) == [], f"kill {kill}"
