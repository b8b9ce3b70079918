"""What can happen to the PostgreSQL of a running system."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from tests.support.waiting import paced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.system import LocalSystem

DIALLING = 8
ROUNDS_PER_SECOND, MAX_SECONDS = 5, 30.0
APPLICATION = "azora-faults"
FOR_ALL = "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
OF_SERVICES = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND usename LIKE '%\\_app' AND application_name <> $1
"""


@contextmanager
def frozen_postgres(server_pid: int) -> Iterator[None]:
    """Stop a server and all of its processes, the sessions among them, until the end of the block."""
    stopped: list[int] = []
    try:
        while found := [pid for pid in _processes(server_pid) if pid not in stopped]:
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            stopped += found
        yield
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _processes(server_pid: int) -> list[int]:
    children = Path(f"/proc/{server_pid}/task/{server_pid}/children").read_text()
    return [server_pid, *map(int, children.split())]


class Connections:
    """All connections of a PostgreSQL but those that it keeps for superusers, to be taken from everyone else."""

    def __init__(self, url: str, admin: asyncpg.Connection[asyncpg.Record]) -> None:
        self._url = url
        self._admin = admin
        self._taken: list[asyncpg.Connection[asyncpg.Record]] = []

    @classmethod
    @asynccontextmanager
    async def of(cls, system: LocalSystem) -> AsyncIterator[Connections]:
        """Give those of a running system, and give them back at the end of the block."""
        url = _url(system)
        admin = await asyncpg.connect(url.replace("auth_app", "postgres"))
        connections = cls(url, admin)
        try:
            yield connections
        finally:
            connections.give_back()
            await admin.close()

    @property
    def count(self) -> int:
        """How many are taken."""
        return len(self._taken)

    async def take(self) -> None:
        """Take all that are free."""
        await asyncio.gather(*(self._dial() for _ in range(DIALLING)))

    async def take_from_services(self) -> None:
        """Take all: end the services' own, and be there before they are, until none has one.

        No more often than it needs: PostgreSQL forks for each connection, also for each that it refuses.
        """
        most = await self._admin.fetchval(FOR_ALL) - 1  # This connection is another.
        async for _ in paced(ROUNDS_PER_SECOND, MAX_SECONDS):
            ended = await self._admin.fetch(OF_SERVICES, APPLICATION)
            await self.take()
            if not ended and self.count >= most:
                return
        raise AssertionError(f"services have connections after {MAX_SECONDS} s")

    def give_back(self) -> None:
        """Give all back at once."""
        while self._taken:
            self._taken.pop().terminate()

    async def _dial(self) -> None:
        while True:
            try:
                taken = await asyncpg.connect(self._url, server_settings={"application_name": APPLICATION})
            except asyncpg.TooManyConnectionsError:
                return
            self._taken.append(taken)


def _url(system: LocalSystem) -> str:
    """Return the URL of Auth's database, as Auth was given it."""
    environment = Path(f"/proc/{system.processes()['auth'].pid}/environ").read_text().split("\0")
    return dict(entry.partition("=")[::2] for entry in environment)["AZORA_DATABASE_URL"].replace("+asyncpg", "")
