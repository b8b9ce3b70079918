"""`azora events`: what background work gave up, and giving it another try."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, NamedTuple

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import text

from services.local.errors import NotRunning
from services.local.layout import lock_path
from services.local.orphans import is_running
from services.local.settings import read_settings
from services.local.up import describe
from services.shared.db import Database
from services.shared.dead_letters import backlog, list_dead_letters, retry_dead_letters
from services.shared.errors import DomainError
from services.shared.settings import SettingsError, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.shared.dead_letters import Backlog, DeadLetter

HEADER = ("SERVICE", "KIND", "ID", "NAME", "SUBSCRIBER", "ATTEMPTS", "REASON", "FAILED")


class DatabaseSettings(BaseSettings):
    """The database of a service, where the command runs in its environment."""

    model_config = SettingsConfigDict(env_prefix="AZORA_", frozen=True, extra="ignore")

    database_url: SecretStr | None = None


class Work(NamedTuple):
    """The background work of one service."""

    service: str
    backlog: Backlog
    dead_letters: Sequence[DeadLetter]


def list_events() -> int:
    """Print the dead letters and the backlog of each service. Returns 1 if a database does not answer."""
    try:
        found = asyncio.run(_list())
    except (DomainError, SettingsError) as error:
        return _failed("list", error)
    rows = [
        (
            service,
            dead.kind,
            dead.id,
            dead.name,
            dead.target or "-",
            str(dead.attempts),
            dead.reason or "-",
            dead.failed_time.isoformat(timespec="seconds"),
        )
        for service, _backlog, letters in found
        for dead in letters
    ]
    if rows:
        widths = [max(map(len, column)) for column in zip(HEADER, *rows, strict=True)]
        for row in (HEADER, *rows):
            _say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for service, counts, _letters in found:
        dead, waiting = counts.dead_events + counts.failed_jobs, counts.jobs + counts.deferred_jobs
        _say(f"{service}: {dead} dead letters; {counts.events} events and {waiting} jobs waiting")
    return 0


def retry_events(ids: Sequence[str] | None) -> int:
    """Make dead letters due again, those of `ids` or all.

    Returns 1 if one of the ids is not there, or a database does not answer.
    """
    try:
        retried = asyncio.run(_retry(ids))
    except (DomainError, SettingsError) as error:
        return _failed("retry", error)
    _say(f"retrying {len(retried)}")
    unknown = sorted(set(ids or ()) - set(retried))
    if unknown:
        sys.stderr.write(f"azora events retry: no dead letter has the id {', '.join(unknown)}\n")
    return 1 if unknown else 0


async def _list() -> list[Work]:
    found = []
    for url in _urls():
        database = Database(url, pool_size=1)
        try:
            async with database.reading() as connection:
                name = (await connection.execute(text("SELECT current_database()"))).scalar_one()
                found.append(Work(name, await backlog(connection), await list_dead_letters(connection)))
        finally:
            await database.close()
    return found


async def _retry(ids: Sequence[str] | None) -> list[str]:
    retried: list[str] = []
    for url in _urls():
        database = Database(url, pool_size=1)
        try:
            retried += await database.transaction(lambda connection: retry_dead_letters(connection, ids))
        finally:
            await database.close()
    return retried


def _urls() -> list[str]:
    """Return the databases: the one of the environment, or those of the running local system. Raises NotRunning."""
    own = load(DatabaseSettings).database_url
    if own is not None:
        return [own.get_secret_value()]
    settings = read_settings()
    if not is_running(lock_path(settings.home)):
        raise NotRunning(home=settings.home)
    system = describe(settings)
    return [system.cluster.url(service, f"{service}_app") for service in system.names]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _failed(command: str, error: Exception) -> int:
    sys.stderr.write(f"azora events {command}: {error}\n")
    return 1
