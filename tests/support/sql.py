"""Statements on a test's database: its connections stay open, as to open one costs more than most statements."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_idle: dict[str, list[asyncpg.Connection[asyncpg.Record]]] = {}
"""Connections by URL, until their database is dropped."""


async def run_sql(url: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
    """Run a statement; return its rows. `url` is SQLAlchemy's of a `Clone`."""
    async with connected(url) as connection:
        rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
        return rows


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Give a connection. Leave it as you took it: without a transaction, and with the settings of its role."""
    idle = _idle.setdefault(url, [])
    while idle:
        connection = idle.pop()
        if not connection.is_closed():
            break
    else:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        yield connection
    except BaseException:
        connection.terminate()
        raise
    if _idle.get(url) is idle:
        idle.append(connection)
    else:  # Its database was dropped meanwhile.
        connection.terminate()


def disconnect(url: str) -> None:
    """Close the idle connections of a URL."""
    for connection in _idle.pop(url, []):
        connection.terminate()
