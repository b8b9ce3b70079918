"""Accounts made by those who run the system, and the process itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from azora.policy.v1 import permission_pb2
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.auth.admin import ensure_account
from services.auth.errors import EmailInvalid
from tests.support.auth import SECRET_KEY, RunningAuth, auth_settings
from tests.support.serving import channel_to, short_folder
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.postgres import Clone

ADMIN = {"email": "admin@azora.world", "password": "Admin@2024!", "name": "Administrator", "role": "ROLE_ADMIN"}


async def test_an_account_is_made_once_with_any_role_and_password(auth: RunningAuth, auth_database: Clone) -> None:
    settings = auth_settings(auth_database.app_url)
    made = await asyncio.gather(*(ensure_account(settings, **ADMIN) for _ in range(5)))
    assert await ensure_account(settings, **{**ADMIN, "email": "Admin@Azora.World", "password": "another"}) == made[0]
    assert set(made) == {made[0]}
    session = await auth.login(ADMIN["email"], ADMIN["password"])
    assert (session.user.id, session.user.role) == (made[0], permission_pb2.ROLE_ADMIN)
    claims = jwt.decode(session.access_token, options={"verify_signature": False})
    assert claims["roles"] == ["ROLE_ADMIN"]


async def test_an_account_needs_an_address_and_a_role_that_exist(auth_database: Clone) -> None:
    with pytest.raises(EmailInvalid):
        await ensure_account(auth_settings(auth_database.app_url), **{**ADMIN, "email": "admin"})
    with pytest.raises(ValueError, match="ROLE_KING"):
        await ensure_account(auth_settings(auth_database.app_url), **{**ADMIN, "role": "ROLE_KING"})


async def test_the_process_migrates_serves_and_stops_on_sigterm(auth_database: Clone) -> None:
    async with auth_database.server.connection("postgres") as connection:
        await connection.execute("CREATE DATABASE fresh OWNER auth_owner")
    async with short_folder() as folder:
        target = f"unix:{folder}/auth.sock"
        environment = os.environ | {
            "AZORA_ENV": "development",
            "AZORA_LISTEN": target,
            "AZORA_DATABASE_URL": auth_database.server.url("fresh", "auth_owner"),
            "AZORA_MIGRATION_DATABASE_URL": auth_database.server.url("fresh", "auth_owner"),
            "AZORA_SECRET_KEY": SECRET_KEY,
            "AZORA_DRAIN_SECONDS": "0",
        }
        command = [sys.executable, "-m", "services.auth"]
        for _ in range(2):
            await asyncio.to_thread(subprocess.run, [*command, "migrate"], env=environment, check=True)
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=subprocess.DEVNULL)
        try:
            async with channel_to(target) as channel:
                health: Any = health_pb2_grpc.HealthStub(channel)

                async def serving() -> bool:
                    try:
                        answer = await health.Check(health_pb2.HealthCheckRequest(service="azora.auth.v1.AuthService"))
                    except aio.AioRpcError:
                        return False
                    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

                await eventually(serving, within_seconds=40)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 15) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
