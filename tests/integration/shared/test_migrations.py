"""Migrations of all services, as replicas that start at once run them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from services.deployment.database_roles import grants
from services.shared import migrations
from services.shared.migrations import upgrade, wait_until_migrated
from services.shared.revisions import newest_revision
from tests.support.services import SERVICES
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.postgres import Databases


@pytest.mark.parametrize("service", SERVICES)
async def test_replicas_that_start_at_once_migrate_one_after_another_and_their_services_wait(
    databases: Databases, service: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "WAIT_SECONDS", 0.05)
    caplog.set_level("INFO")

    async def is_waiting() -> bool:
        return "waiting for migrations" in caplog.messages

    name, owner = f"fresh_{service}", f"{service}_owner"
    url, app = databases.server.url(name, owner), databases.server.url(name, f"{service}_app")
    async with databases.server.connection("postgres") as connection:
        await connection.execute(f"CREATE DATABASE {name} OWNER {owner}")
        try:
            async with databases.server.connection(name) as superuser:
                await superuser.execute(";".join(grants(service, name)))
            waiting = asyncio.create_task(wait_until_migrated(service, app))
            await eventually(is_waiting)
            await asyncio.gather(*(upgrade(service, url) for _ in range(3)))
            await asyncio.wait_for(waiting, 30)
            async with databases.server.connection(name) as migrated:
                revisions = await migrated.fetch("SELECT version_num FROM alembic_version")
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert [row["version_num"] for row in revisions] == [newest_revision(service)]
