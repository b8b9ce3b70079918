"""Migration of a service's database with Alembic, as the database's owner."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from alembic import command, op
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOCK = 0x617A6F7261
"""Key of the advisory lock ("azora"): replicas that start at once migrate one after another."""


def migrate(service: str, url: str, revision: str = "head") -> None:
    """Upgrade the database at `url` to a revision of services/<service>/migrations, the newest unless given."""
    asyncio.run(upgrade(service, url, revision))


async def upgrade(service: str, url: str, revision: str = "head") -> None:
    """Do the same within an event loop."""
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            await connection.run_sync(_upgrade, service, revision)
    finally:
        await engine.dispose()


def run_script(script: str) -> None:
    """Run any number of statements, within a migration: `op.execute` prepares, and so takes one only."""
    connection: Any = op.get_bind().connection.dbapi_connection
    connection.run_async(lambda driver: driver.execute(script))


def _upgrade(connection: Connection, service: str, revision: str) -> None:
    """Run Alembic's upgrade in the connection's transaction; migration_environment/env.py is its environment."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("path_separator", "newline")
    config.set_main_option("script_location", _escaped(files("services.shared.migration_environment")))
    config.set_main_option("version_locations", _escaped(files(f"services.{service}") / "migrations" / "versions"))
    command.upgrade(config, revision)


def _escaped(path: object) -> str:
    return str(path).replace("%", "%%")
