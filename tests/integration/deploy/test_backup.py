"""A backup restored by the commands of docs/operations.md: data and rights are what they were."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.local.postgres import PORT
from services.shared.ids import new_id
from tests.support.pages import OPERATORS, shell_lines, words

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import Clone, Databases

PAGE = "docs/operations.md"
WHOLE = """
    SELECT 'wallets' AS name, array_agg(id::text)::text AS value FROM wallets
    UNION ALL SELECT datname, array(SELECT unnest(datacl)::text ORDER BY 1)::text FROM pg_database
        WHERE datname = current_database()
    UNION ALL SELECT concat(pg_get_userbyid(relowner), relname), array(SELECT unnest(relacl)::text ORDER BY 1)::text
        FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat(pg_get_userbyid(defaclrole), defaclobjtype),
        array(SELECT unnest(defaclacl)::text ORDER BY 1)::text FROM pg_default_acl
    UNION ALL SELECT oid::regprocedure::text, array(SELECT unnest(proacl)::text ORDER BY 1)::text FROM pg_proc
        WHERE proname LIKE 'lo\\_%'
    UNION ALL SELECT tgname, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
    ORDER BY 1, 2
"""
"""What a database holds, and who may do what in it."""


async def run(program: str, clone: Clone, dump: Path) -> None:
    """Run a program of PostgreSQL with the arguments that the page gives it for Payment's database."""
    (line,) = [line for line in shell_lines(PAGE, container=True) if f" {program} " in line and "payment.dump" in line]
    given = words(line)[words(line).index(program) + 1 :]
    given = given[: next(position for position, word in enumerate(given) if word in OPERATORS)]
    given = [clone.name if word == "payment" else word for word in given]
    restores = program == "pg_restore"
    place = ("--host", str(clone.server.sockets), "--port", str(PORT))
    with dump.open("rb" if restores else "wb") as file:
        process = await asyncio.create_subprocess_exec(
            clone.server.binaries / "bin" / program,
            *place,
            *given,
            stdin=file if restores else None,
            stdout=None if restores else file,
        )
        assert await process.wait() == 0


async def whole(clone: Clone) -> list[tuple[str, ...]]:
    """Return the wallets of a database, and who may do what in it."""
    async with clone.server.connection(clone.name) as connection:
        return [tuple(row) for row in await connection.fetch(WHOLE)]


async def test_a_restored_database_is_the_one_that_was_backed_up(databases: Databases, tmp_path: Path) -> None:
    insert, dump = "INSERT INTO wallets (id, user_id) VALUES ($1, $2)", tmp_path / "payment.dump"
    async with databases.clone("payment") as clone:
        async with clone.server.connection(clone.name) as connection:
            await connection.execute(insert, new_id(), new_id())
        before = await whole(clone)
        await run("pg_dump", clone, dump)
        async with clone.server.connection(clone.name) as connection:
            await connection.execute(insert, new_id(), new_id())
        assert await whole(clone) != before
        await run("pg_restore", clone, dump)
        assert await whole(clone) == before
