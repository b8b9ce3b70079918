"""`azora events`: what background work gave up, and giving it another try."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy import text

from services.cli.databases import database_urls
from services.cli.output import Column, Output
from services.shared.background_work import BackgroundWork
from services.shared.db import Database
from services.shared.dead_letters import backlog, list_dead_letters, retry_dead_letters
from services.shared.errors import DomainError
from services.shared.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = (
    *map(Column, ("SERVICE", "KIND", "ID", "NAME", "SUBSCRIBER", "ATTEMPTS", "REASON")),
    Column("FAILED", lambda time: time.isoformat(timespec="seconds"), "failTime"),
)


def list_events(out: Output) -> int:
    """Print the dead letters and the backlog of each service. Returns 1 if a database does not answer."""
    try:
        found = asyncio.run(_list())
    except (DomainError, SettingsError) as error:
        return out.failed("events list", error)
    rows = [
        (
            work.service,
            dead.kind,
            dead.id,
            dead.name,
            dead.subscriber,
            dead.attempts,
            dead.reason,
            dead.fail_time,
        )
        for work in found
        for dead in work.dead_letters
    ]
    out.table(COLUMNS, rows)
    for work in found:
        counts = work.backlog
        dead, waiting = counts.dead_events + counts.failed_jobs, counts.jobs + counts.deferred_jobs
        out.say(
            f"{work.service}: {dead} dead letters; {counts.events} events and {waiting} jobs waiting",
            service=work.service,
            deadLetters=dead,
            waitingEvents=counts.events,
            waitingJobs=waiting,
        )
    return 0


def retry_events(ids: Sequence[str] | None, out: Output) -> int:
    """Make dead letters due again, those of `ids` or all.

    Returns 1 if one of the ids is not there, or a database does not answer.
    """
    try:
        retried = asyncio.run(_retry(ids))
    except (DomainError, SettingsError) as error:
        return out.failed("events retry", error)
    out.say(f"retrying {len(retried)}", retried=retried)
    unknown = sorted(set(ids or ()) - set(retried))
    if unknown:
        return out.failed("events retry", f"no dead letter has the id {', '.join(unknown)}")
    return 0


async def _list() -> list[BackgroundWork]:
    found = []
    for url in database_urls():
        database = Database(url, pool_size=1)
        try:
            async with database.reading() as connection:
                name = (await connection.execute(text("SELECT current_database()"))).scalar_one()
                letters = await list_dead_letters(connection)
                found.append(BackgroundWork(name, await backlog(connection), letters))
        finally:
            await database.close()
    return found


async def _retry(ids: Sequence[str] | None) -> list[str]:
    retried: list[str] = []
    for url in database_urls():
        database = Database(url, pool_size=1)
        try:
            retried += await database.transaction(lambda connection: retry_dead_letters(connection, ids))
        finally:
            await database.close()
    return retried
