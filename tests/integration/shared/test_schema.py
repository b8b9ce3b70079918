"""One truth about the schema: what the stores declare is what the migrations make."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import MetaData, Table
from sqlalchemy.ext.asyncio import create_async_engine

from services.shared import idempotency
from services.shared.audit import store as audit
from tests.support.services import SERVICES

if TYPE_CHECKING:
    from types import ModuleType

    from sqlalchemy import Connection

    from tests.support.postgres import Databases

LIBRARIES = {"alembic_version", "pgqueuer", "pgqueuer_log", "pgqueuer_schedules", "pgqueuer_statistics"}
INFRASTRUCTURE = LIBRARIES | {"outbox", "received_events", "erasure_scans"}
"""Tables that no store declares: libraries' own, and those that are read by SQL beside their definition."""
FORMER = {"modules", "lessons"}
"""Tables that only processes of the release before use, while they are replaced."""


def _modules(package: str) -> list[ModuleType]:
    found = importlib.import_module(package)
    names = [module.name for module in pkgutil.walk_packages(found.__path__, f"{package}.")]
    return [importlib.import_module(name) for name in names if name.rpartition(".")[2] in ("store", "tables")]


def _declared(service: str) -> dict[str, Table]:
    """Return all tables of the MetaData that the service's modules declare tables in."""
    values = [value for module in _modules(f"services.{service}") for value in vars(module).values()]
    catalogues = {id(value.metadata): value.metadata for value in values if isinstance(value, Table)}
    return {table.name: table for catalogue in catalogues.values() for table in catalogue.tables.values()}


def _migrated(connection: Connection) -> dict[str, Table]:
    reflected = MetaData()
    reflected.reflect(connection)
    return {name: table for name, table in reflected.tables.items() if name not in INFRASTRUCTURE | FORMER}


def _columns(table: Table, connection: Connection) -> dict[str, tuple[str, bool, bool]]:
    return {
        column.name: (column.type.compile(connection.dialect), bool(column.nullable), bool(column.primary_key))
        for column in table.columns
    }


@pytest.mark.parametrize("service", SERVICES)
async def test_the_declared_tables_are_the_migrated_ones(databases: Databases, service: str) -> None:
    async with databases.clone(service) as clone:
        engine = create_async_engine(clone.owner_url)
        try:
            async with engine.connect() as connection:
                migrated = await connection.run_sync(_migrated)
                declared = _declared(service) | dict(audit.metadata.tables)
                shared = idempotency._table()
                declared |= {shared.name: shared} if shared.name in migrated else {}
                assert set(declared) == set(migrated)
                for name, table in declared.items():
                    dialect = connection.sync_connection
                    assert dialect is not None
                    assert _columns(table, dialect) == _columns(migrated[name], dialect), name
        finally:
            await engine.dispose()
