"""The peer's database: the system's own rows, copied into the tables of the peer's models on the same PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from bench.orm_models import (
    Account,
    Base,
    Course,
    Enrollment,
    Hold,
    Lesson,
    LessonCompletion,
    Module,
    Person,
    User,
    Wallet,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from bench.system import System

SOURCES: Mapping[type[Base], tuple[str, str]] = {
    User: ("auth", ""),
    Person: ("education", ""),
    Course: ("education", ""),
    Module: ("education", ""),
    Lesson: ("education", ""),
    Enrollment: ("education", ""),
    LessonCompletion: ("education", ""),
    Wallet: ("payment", ""),
    Account: ("payment", "kind = 'WALLET'"),
    Hold: ("payment", "account_id IN (SELECT id FROM accounts WHERE kind = 'WALLET')"),
}
"""For each model the service whose table of the same name has its rows, and which of them; in order of foreign keys."""
FROM: Mapping[type[Base], str] = {
    Module: """(
        SELECT CAST(m ->> 'id' AS uuid) AS id, c.id AS course_id, number AS position, m ->> 'title' AS title,
            coalesce(CAST(m ->> 'sequential' AS boolean), false) AS sequential
        FROM courses c, jsonb_array_elements(c.modules) WITH ORDINALITY AS e (m, number)
    ) modules""",
    Lesson: """(
        SELECT CAST(l ->> 'id' AS uuid) AS id, CAST(m ->> 'id' AS uuid) AS module_id, number AS position,
            l ->> 'title' AS title, l ->> 'kind' AS kind, CAST(l ->> 'required' AS boolean) AS required,
            l ->> 'content' AS content
        FROM courses c, jsonb_array_elements(c.modules) AS m,
            jsonb_array_elements(m -> 'lessons') WITH ORDINALITY AS e (l, number)
    ) lessons""",
}
"""Where rows are not those of a table: the system keeps modules and lessons as one document."""
ON_THE_WIRE = {
    Course: {"state": "COURSE_STATE_"},
    Enrollment: {"state": "ENROLLMENT_STATE_"},
    Lesson: {"kind": "LESSON_KIND_"},
    Wallet: {"state": "WALLET_STATE_"},
}
"""Names are kept as the answers have them, so that the peer need not translate."""


async def copy_rows(system: System, database: str) -> str:
    """Make a database anew with the rows that the system has now; return its URL."""
    async with system.connection("postgres") as connection:
        await connection.execute(f"DROP DATABASE IF EXISTS {database}")
        await connection.execute(f"CREATE DATABASE {database}")
    url = system.database_url(database)
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
            f"SELECT {columns} FROM {FROM.get(model, model.__tablename__)} WHERE {which or 'true'}"  # noqa: S608 - our own names
        )
    return [dict(row) for row in rows]


async def _copy(connection: AsyncConnection, model: type[Base], rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row |= {name: f"{prefix}{row[name]}" for name, prefix in ON_THE_WIRE.get(model, {}).items()}
        row |= {name: str(value) for name, value in row.items() if name == "id" or name.endswith("_id")}
    if rows:
        await connection.execute(model.__table__.insert(), rows)  # type: ignore[attr-defined]
