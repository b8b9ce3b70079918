"""Personal data: how each service exports and erases what it keeps of a person.

A service lists its resources that keep data of persons once, in its `app`. Export and erasure go through that list, and
through the tables that the shared code writes.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from sqlalchemy import text

from services.shared.keyset import Pages, field_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.db import Database

ERASE_SECONDS = 3.0
"""Time after which one call leaves the rest to the next: less than what a call between services may take."""
MAX_ERASURES = 2
"""Erasures that work in a process at once: there may be as many jobs of them as connections, and calls need those."""
IN_PROGRESS = "erasure in progress"
CHUNK_BYTES = 32 * 1024
"""Maximum size of a part: Envoy fails on messages that do not fit into its buffer of 64 KiB."""


class ErasurePending(Exception):
    """Something of the person must end first; its message names it. The erasure is attempted again."""


async def list_rows(connection: AsyncConnection, statement: Executable, **values: Any) -> list[dict[str, Any]]:
    """Return the rows of a SELECT as JSON objects, for `export_person`: columns have the names of fields in JSON."""
    rows = await connection.execute(statement, values)
    names = [field_name(name) for name in rows.keys()]  # noqa: SIM118 - a result's keys are no mapping's
    return [dict(zip(names, row, strict=True)) for row in rows]


class PersonalData(Protocol):
    """A resource that keeps data of persons: a store."""

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:
        """Return what it keeps of a person: JSON values by the name of their collection. Times and UUIDs are allowed.

        In place of a list that grows without bound it returns Pages.
        Nothing secret, and nothing that other people wrote about themselves.
        """
        ...

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Erase what it keeps of a person, in the caller's transaction; return the number of rows that it changed.

        It is called until it returns 0, each time in a transaction of its own: where a person may have more than some
        thousand rows it erases them in batches. What must stay keeps opaque IDs only. Raises ErasurePending.
        """
        ...


class Ending(Protocol):
    """Ends what a person has begun, over several transactions and calls to other services."""

    async def __call__(self, *, user_id: str) -> None:
        """End it; again if need be. Raises ErasurePending, DependencyUnavailable."""
        ...


class PersonOperations:
    """Export and erasure of what one service keeps of a person.

    `endings` run before anything is erased.
    """

    def __init__(
        self,
        *,
        database: Database,
        resources: Sequence[PersonalData],
        endings: Sequence[Ending] = (),
    ) -> None:
        self._database = database
        self._resources = resources
        self._endings = endings
        self._erasing = asyncio.Semaphore(MAX_ERASURES)

    async def export_person(self, *, user_id: str) -> AsyncGenerator[bytes]:
        """Yield all that the service keeps of a person, as the parts of one JSON object, in at least one part."""
        part = bytearray()
        async with aclosing(self._encoded(user_id)) as pieces:
            async for piece in pieces:
                part += piece
                while len(part) > CHUNK_BYTES:
                    yield bytes(part[:CHUNK_BYTES])
                    del part[:CHUNK_BYTES]
        yield bytes(part)

    async def _encoded(self, user_id: str) -> AsyncGenerator[bytes]:
        before = b"{"
        for resource in self._resources:
            async with self._database.reading() as connection:
                collections = await resource.export_person(connection, user_id=user_id)
            for name, value in collections.items():
                yield before + orjson.dumps(name) + b":"
                before = b","
                if not isinstance(value, Pages):
                    yield orjson.dumps(value, option=orjson.OPT_UTC_Z)
                    continue
                # No connection is kept while the client reads.
                async with aclosing(self._pages(value)) as pages:
                    async for page in pages:
                        yield page
        yield b"{}" if before == b"{" else b"}"

    async def _pages(self, pages: Pages) -> AsyncGenerator[bytes]:
        """Yield the pages of a collection, as the parts of one JSON array."""
        before = b"["
        after: tuple[Any, ...] | None = pages.keyset.start
        while after:
            async with self._database.reading() as connection:
                items, after = await pages.read(connection, after)
            if items:
                yield before + orjson.dumps(items, option=orjson.OPT_UTC_Z)[1:-1]
                before = b","
        yield b"[]" if before == b"[" else b"]"

    async def erase_person(self, *, user_id: str) -> str:
        """Erase a person; return what has to end first, or is left for the next call. Empty: all is erased."""
        if self._erasing.locked():
            return IN_PROGRESS
        async with self._erasing:
            return await self._erase_person(user_id)

    async def _erase_person(self, user_id: str) -> str:
        clock = asyncio.get_running_loop()
        give_up = clock.time() + ERASE_SECONDS
        try:
            for end in self._endings:
                await end(user_id=user_id)
            for resource in self._resources:
                while await self._erase(resource, user_id):
                    if clock.time() > give_up:
                        return IN_PROGRESS
        except ErasurePending as pending:
            return str(pending)
        return ""

    async def _erase(self, resource: PersonalData, user_id: str) -> int:
        return await self._database.transaction(lambda connection: resource.erase_person(connection, user_id=user_id))


COUNT_JOBS = text("""
    SELECT count(*) FROM pgqueuer
    WHERE status IN ('queued', 'picked') AND NOT entrypoint = ANY(CAST(:own AS text[]))
        AND position(convert_to(:naming, 'UTF8') IN payload) > 0
""")
DELETE_JOBS = text("""
    DELETE FROM pgqueuer
    WHERE status NOT IN ('queued', 'picked') AND NOT entrypoint = ANY(CAST(:own AS text[]))
        AND position(convert_to(:naming, 'UTF8') IN payload) > 0
""")


async def delete_failed_jobs(connection: AsyncConnection, *, naming: str, own: Sequence[str] = ()) -> int:
    """Delete failed jobs whose payload contains a text, but for those named in `own`; return how many they were.

    Raises ErasurePending while others are to run.
    """
    values = {"naming": naming, "own": list(own)}
    if (await connection.execute(COUNT_JOBS, values)).scalar_one():
        raise ErasurePending("jobs of the person are still to run")
    return (await connection.execute(DELETE_JOBS, values)).rowcount


class UnfinishedJobs:
    """Jobs whose payload names the person. They end first; those that were given up are deleted."""

    def __init__(self, *, own: Sequence[str] = ()) -> None:
        """`own` are the names of the jobs that erase."""
        self._own = list(own)

    async def export_person(self, _connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:  # noqa: ARG002 - PersonalData's
        """Return nothing: jobs are work in progress on what other resources export."""
        return {}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Delete failed jobs. Raises ErasurePending while others are to run."""
        return await delete_failed_jobs(connection, naming=user_id, own=self._own)


class UndeliveredEvents:
    """Events that name the person. They are delivered first; dead letters are deleted."""

    _count = text("""
        SELECT count(*) FROM outbox
        WHERE dead_time IS NULL AND position(convert_to(:user_id, 'UTF8') IN payload) > 0
    """)
    _delete = text("""
        DELETE FROM outbox WHERE dead_time IS NOT NULL AND position(convert_to(:user_id, 'UTF8') IN payload) > 0
    """)

    async def export_person(self, _connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:  # noqa: ARG002 - PersonalData's
        """Return nothing: events report what other resources export."""
        return {}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Delete dead letters. Raises ErasurePending while events are to be delivered."""
        if (await connection.execute(self._count, {"user_id": user_id})).scalar_one():
            raise ErasurePending("events about the person are still to be delivered")
        return (await connection.execute(self._delete, {"user_id": user_id})).rowcount
