"""Migrations of all services, as replicas that start at once run them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from services.local.system import newest_revision
from services.shared.migrations import upgrade
from tests.support.services import SERVICES

if TYPE_CHECKING:
    from tests.support.postgres import Databases


@pytest.mark.parametrize("service", SERVICES)
async def test_replicas_that_start_at_once_migrate_one_after_another(databases: Databases, service: str) -> None:
    name, owner = f"fresh_{service}", f"{service}_owner"
    url = databases.server.url(name, owner)
    async with databases.server.connection("postgres") as connection:
        await connection.execute(f"CREATE DATABASE {name} OWNER {owner}")
        try:
            await asyncio.gather(*(upgrade(service, url) for _ in range(3)))
            async with databases.server.connection(name) as migrated:
                revisions = await migrated.fetch("SELECT version_num FROM alembic_version")
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert [row["version_num"] for row in revisions] == [newest_revision(service)]
