"""What can happen to the PostgreSQL of a running system."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from services.local.processes import identify
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from services.local.processes import Identity
    from tests.support.system import LocalSystem

DIALLING = 16
OF_SERVICES = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND usename LIKE '%\\_app' AND application_name <> 'hog'
"""


def postgres_processes(system: LocalSystem) -> list[Identity]:
    """Return the server and all of its processes, the sessions among them."""
    server = system.processes()["postgres"]
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return [server, *filter(None, (identify(int(child)) for child in children))]


@contextmanager
def frozen_postgres(system: LocalSystem) -> Iterator[None]:
    """Stop all of its processes until the end of the block."""
    stopped: list[Identity] = []
    while found := [process for process in postgres_processes(system) if process not in stopped]:
        for process in found:
            process.send(signal.SIGSTOP)
        stopped += found
    try:
        yield
    finally:
        for process in stopped:
            process.send(signal.SIGCONT)


@asynccontextmanager
async def no_connections(system: LocalSystem) -> AsyncIterator[int]:
    """Take every connection until the end of the block, those of the services too; give how many there are.

    Left are those that PostgreSQL keeps for superusers.
    """
    url = _url(system)
    admin = await asyncpg.connect(url.replace("auth_app", "postgres"))
    hogs: list[asyncpg.Connection[asyncpg.Record]] = []

    async def take() -> None:
        while True:
            try:
                hogs.append(await asyncpg.connect(url, server_settings={"application_name": "hog"}))
            except asyncpg.TooManyConnectionsError:
                return

    async def none_left() -> bool:
        await asyncio.gather(*(take() for _ in range(DIALLING)))
        return not await admin.fetch(OF_SERVICES)

    try:
        await eventually(none_left, within_seconds=30)
        yield len(hogs)
    finally:
        for hog in hogs:
            hog.terminate()
        await admin.close()


def _url(system: LocalSystem) -> str:
    """Return the URL of Auth's database, as Auth was given it."""
    environment = Path(f"/proc/{system.processes()['auth'].pid}/environ").read_text().split("\0")
    return dict(entry.partition("=")[::2] for entry in environment)["AZORA_DATABASE_URL"].replace("+asyncpg", "")
