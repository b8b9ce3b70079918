"""Migration of a service's database with Alembic, as the database's owner."""

from __future__ import annotations

import asyncio
import logging
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from alembic import command, op
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from services.shared.connections import DRIVER_ERRORS
from services.shared.revisions import newest_revision

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncEngine

logger = logging.getLogger(__name__)

WAIT_SECONDS = 1.0
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


async def wait_until_migrated(service: str, url: str) -> None:
    """Wait until the database at `url` has the service's newest revision, or a later one: of a release to come."""
    newest = newest_revision(service)
    engine = create_async_engine(url)
    try:
        while (found := await _revision(engine)) < newest:
            logger.info("waiting for migrations", extra={"found": found, "newest": newest})
            await asyncio.sleep(WAIT_SECONDS)
    finally:
        await engine.dispose()


async def _revision(engine: AsyncEngine) -> str:
    """Return the database's revision; empty before its first, and while it does not answer."""
    try:
        async with engine.connect() as connection:
            return str(await connection.scalar(text("SELECT version_num FROM alembic_version")) or "")
    except (SQLAlchemyError, *DRIVER_ERRORS, OSError):
        return ""


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
