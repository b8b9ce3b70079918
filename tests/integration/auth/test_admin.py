"""Accounts made by those who run the system, and the process itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from azora.policy.v1 import permission_pb2
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.auth.admin import create_administrator, ensure_account
from services.auth.errors import EmailInvalid, EmailTaken, PasswordRefused
from services.shared.errors import ValidationFailed
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


async def test_every_way_in_keeps_names_alike(auth: RunningAuth, auth_database: Clone) -> None:
    settings = auth_settings(auth_database.app_url)
    administrator = {"email": "ada@azora.world", "password": "a long walk to the library"}
    for name in ("\N{ZERO WIDTH SPACE}", "Ada\nAdmin", "Ada\N{RIGHT-TO-LEFT OVERRIDE}"):
        with pytest.raises(ValidationFailed) as caught:
            await create_administrator(settings, **administrator, name=name)
        assert [violation.field for violation in caught.value.violations] == ["name"]
        with pytest.raises(ValidationFailed):
            await ensure_account(settings, **{**ADMIN, "name": name})
    await create_administrator(settings, **administrator, name=" Ada\N{COMBINING ACUTE ACCENT} ")
    await ensure_account(settings, **{**ADMIN, "name": " Ada\N{COMBINING ACUTE ACCENT} "})
    names = await auth.sql("SELECT name FROM users")
    assert [row["name"] for row in names] == ["Ad\N{LATIN SMALL LETTER A WITH ACUTE}"] * 2


async def run_admin_create(auth_database: Clone, email: str, password: str) -> tuple[int | None, str]:
    """Run `azora admin create` with the password on its standard input; return its exit code and what it said."""
    environment = os.environ | {
        "AZORA_ENV": "development",
        "AZORA_LISTEN": "unix:/tmp/unused",
        "AZORA_DATABASE_URL": auth_database.app_url,
        "AZORA_SECRET_KEY": SECRET_KEY,
        "AZORA_BCRYPT_COST": "4",
    }
    process = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("azora"), "admin", "create", "--email", email, "--name", "Ada Admin"),
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await process.communicate(f"{password}\n".encode())
    return process.returncode, said.decode()


async def test_the_first_administrator_is_made_by_command(auth: RunningAuth, auth_database: Clone) -> None:
    password = "a long walk to the library"
    code, said = await run_admin_create(auth_database, "ada@azora.world", "short")
    assert code == 1
    assert "\n  password: must be at least 8 characters" in said
    code, said = await run_admin_create(auth_database, "ada@azora.world", "ada@azora.world")
    assert code == 1
    assert PasswordRefused(rule="").message in said
    code, user_id = await run_admin_create(auth_database, "ada@azora.world", password)
    assert code == 0
    session = await auth.login("ada@azora.world", password)
    assert (session.user.id, session.user.role) == (user_id.strip(), permission_pb2.ROLE_ADMIN)
    code, said = await run_admin_create(auth_database, "ada@azora.world", password)
    assert (code, said) == (1, f"azora admin create: {EmailTaken().message}\n")


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
