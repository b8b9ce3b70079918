"""Bringing a service's database up to date with Alembic, as the database's owner."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from alembic import op
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOCK = 0x617A6F7261  # "azora": replicas that start at once migrate one after another.


def migrate(service: str, url: str, revision: str = "head") -> None:
    """Bring the database at `url` to a revision of services/<service>/migrations, the newest unless given."""
    asyncio.run(_migrate(service, url, revision))


def run_script(script: str) -> None:
    """Run any number of statements, within a migration: `op.execute` prepares, and so takes one only."""
    connection: Any = op.get_bind().connection.dbapi_connection
    connection.run_async(lambda driver: driver.execute(script))


async def _migrate(service: str, url: str, revision: str) -> None:
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            scripts = ScriptDirectory(str(files(f"services.{service}") / "migrations"))
            await connection.run_sync(_upgrade, scripts, revision)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, scripts: ScriptDirectory, target: str) -> None:
    def steps(current: tuple[str, ...], _: MigrationContext) -> list[object]:
        return list(scripts._upgrade_revs(target, current))  # type: ignore[arg-type]  # noqa: SLF001 - as env.py does

    context = MigrationContext.configure(connection, opts={"fn": steps, "script": scripts})
    with Operations.context(context):
        context.run_migrations()
