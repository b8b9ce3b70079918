"""Payment as a process of its own: it migrates, serves, and ends when told to."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.serving import channel_to, short_folder
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.postgres import Clone

SERVICES = (
    "",
    *(f"azora.payment.v1.{name}Service" for name in ("Payment", "Wallet", "Ledger", "Webhook")),
)


async def test_it_migrates_serves_and_stops(payment_database: Clone) -> None:
    async with short_folder() as folder:
        environment = os.environ | {
            "AZORA_ENV": "development",
            "AZORA_LISTEN": f"unix:{folder}/payment.sock",
            "AZORA_MESH_TARGET": f"unix:{folder}/mesh.sock",
            "AZORA_DATABASE_URL": payment_database.app_url,
            "AZORA_MIGRATION_DATABASE_URL": payment_database.owner_url,
            "AZORA_SECRET_KEY": base64.b64encode(os.urandom(32)).decode(),
            "AZORA_DRAIN_SECONDS": "0",
        }

        async def start(*arguments: str) -> asyncio.subprocess.Process:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.payment", *arguments, env=environment, stdout=asyncio.subprocess.PIPE
            )

        migration = await start("migrate")
        assert await migration.wait() == 0

        serving = await start()
        try:
            async with channel_to(f"unix:{folder}/payment.sock") as channel:
                health: Any = health_pb2_grpc.HealthStub(channel)

                async def healthy() -> bool:
                    try:
                        answers = [
                            (await health.Check(health_pb2.HealthCheckRequest(service=name))).status
                            for name in SERVICES
                        ]
                    except aio.AioRpcError:
                        return False
                    return set(answers) == {health_pb2.HealthCheckResponse.SERVING}

                await eventually(healthy, within_seconds=20)
        finally:
            serving.send_signal(signal.SIGTERM)
        printed, _ = await serving.communicate()
        assert serving.returncode == 0
        assert b'"message":"stopped"' in printed
