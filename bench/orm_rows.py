"""The peer's database: the system's own rows, copied into the tables of the peer's models on the same PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from bench.orm_models import Account, Base, Course, Enrollment, Hold, Lesson, Module, User, Wallet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from bench.system import System

DATABASE = "bench_peer"
SOURCES: Mapping[type[Base], tuple[str, str]] = {
    User: ("auth", ""),
    Course: ("education", ""),
    Module: ("education", ""),
    Lesson: ("education", ""),
    Enrollment: ("education", ""),
    Wallet: ("payment", ""),
    Account: ("payment", "kind = 'WALLET'"),
    Hold: ("payment", "account_id IN (SELECT id FROM accounts WHERE kind = 'WALLET')"),
}
"""For each model the service whose table of the same name has its rows, and which of them; in order of foreign keys."""
ON_THE_WIRE = {
    Course: {"state": "COURSE_STATE_"},
    Lesson: {"kind": "LESSON_KIND_"},
    Wallet: {"state": "WALLET_STATE_"},
}
"""Names are kept as the answers have them, so that the peer need not translate."""


async def copy_rows(system: System) -> str:
    """Make the database anew with the rows that the system has now; return its URL."""
    async with system.connection("postgres") as connection:
        await connection.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
        await connection.execute(f"CREATE DATABASE {DATABASE}")
    url = system.database_url(DATABASE)
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            for model, (service, which) in SOURCES.items():
                await _copy(connection, model, await _rows(system, model, service, which))
        async with engine.connect() as connection:
            await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text("VACUUM ANALYZE"))
    finally:
        await engine.dispose()
    return url


async def _rows(system: System, model: type[Base], service: str, which: str) -> list[dict[str, Any]]:
    columns = ", ".join(column.name for column in model.__table__.columns)
    async with system.connection(service) as connection:
        rows = await connection.fetch(
            f"SELECT {columns} FROM {model.__tablename__} WHERE {which or 'true'}"  # noqa: S608 - our own names
        )
    return [dict(row) for row in rows]


async def _copy(connection: AsyncConnection, model: type[Base], rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row |= {name: f"{prefix}{row[name]}" for name, prefix in ON_THE_WIRE.get(model, {}).items()}
        row |= {name: str(value) for name, value in row.items() if name == "id" or name.endswith("_id")}
    if rows:
        await connection.execute(model.__table__.insert(), rows)  # type: ignore[attr-defined]
