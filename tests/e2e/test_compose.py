"""The containers' system, run as processes: mutual TLS on TCP everywhere, production's settings, the committed Envoy."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
import pytest_asyncio
from azora.auth.v1 import token_service_pb2, token_service_pb2_grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.local.cli import SERVED, WITH_DATABASE
from services.local.compose_secrets import make_secrets
from services.local.pki import ensure_pki
from services.local.postgres import running
from services.local.processes import Command, run_step
from tests.support.compose import ROOT, Processes, containers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.local.part import Part
    from services.local.postgres import Cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")
PASSWORD = "a long enough passphrase"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system() -> AsyncIterator[Processes]:
    with tempfile.TemporaryDirectory(prefix="azt", dir="/tmp") as name:
        folder = Path(name)
        make_secrets(folder / "secrets")
        (folder / "postgres").mkdir()
        processes = Processes(folder, folder / "secrets")
        async with running(folder / "postgres", WITH_DATABASE) as cluster:
            await asyncio.gather(*(migrate(processes, cluster, service) for service in WITH_DATABASE))
            parts = [processes.valkey(), *(serve(processes, cluster, name) for name in SERVED), processes.envoy()]
            try:
                for part in parts:
                    await part.start()
                yield processes
            finally:
                await asyncio.gather(*(part.stop() for part in parts))


async def migrate(processes: Processes, cluster: Cluster, service: str) -> None:
    container = f"migrate-{service}"
    owner = cluster.url(service, f"{service}_owner")
    migration = processes.service(container, AZORA_MIGRATION_DATABASE_URL=owner)
    await run_step(f"Migrating {service}", migration.plan.command)


def serve(processes: Processes, cluster: Cluster, service: str) -> Part:
    database = {"AZORA_DATABASE_URL": cluster.url(service, f"{service}_app")} if service in WITH_DATABASE else {}
    return processes.service(service, AZORA_DRAIN_SECONDS="0", **database)
