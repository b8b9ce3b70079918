"""What can happen to the PostgreSQL of a running system."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from tests.support.waiting import eventually, paced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.system import LocalSystem

DIALLING = 8
ATTEMPTS_PER_SECOND = 20
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
        """Take all: end the services' own until none has one."""

        async def insist() -> None:  # Services dial as well, and as often as they can.
            async for _ in paced(ATTEMPTS_PER_SECOND, math.inf):
                await self._dial()

        most = await self._admin.fetchval(FOR_ALL) - 1  # This connection is another.

        async def none_left() -> bool:
            return not await self._admin.fetch(OF_SERVICES, APPLICATION) and self.count >= most

        insisting = [asyncio.create_task(insist()) for _ in range(DIALLING)]
        try:
            await eventually(none_left, within_seconds=30)
        finally:  # PostgreSQL forks for each that it refuses: these would hurt more than that there are none.
            for each in insisting:
                each.cancel()

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
