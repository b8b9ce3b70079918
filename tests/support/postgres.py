"""Databases for tests: one real PostgreSQL a session, each service's schema migrated once and cloned for every test."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from services.deployment.database_roles import database_grants, grants
from services.local import postgres
from services.shared.ids import new_id
from services.shared.migrations import upgrade

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from services.local.postgres import Cluster

from tests.support.services import SERVICES
from tests.support.sharing import shared_or_own
from tests.support.sql import disconnect

ROOM_BYTES = 2 * 1024**3
"""Ten times what a session's server holds."""


@dataclass(frozen=True, slots=True)
class Clone:
    """A database of one test."""

    name: str
    server: Cluster
    app_url: str
    """As the running service connects to it."""
    owner_url: str
    """As its migrations do."""


@dataclass(frozen=True, slots=True)
class Databases:
    """Gives each test a database of its own: a clone of its service's migrated one."""

    server: Cluster
    _migrated: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def old(self, service: str, revision: str) -> AsyncIterator[Clone]:
        """Give an empty database at an older revision of the service's schema, and drop it afterwards."""
        async with self._created(service, "template1") as clone:
            await upgrade(service, clone.owner_url, revision)
            yield clone

    @asynccontextmanager
    async def clone(self, service: str) -> AsyncIterator[Clone]:
        """Give a database with the newest schema of the service, and drop it afterwards."""
        if service not in self._migrated:
            await upgrade(service, self.server.url(service, f"{service}_owner"))
            self._migrated.add(service)
        async with self._created(service, service) as clone:
            yield clone

    @asynccontextmanager
    async def _created(self, service: str, template: str) -> AsyncIterator[Clone]:
        name = f"{service}_{new_id().replace('-', '')}"
        # One connection from the beginning to the end: each that is opened costs as much as the copy.
        async with self.server.connection("postgres") as connection:
            # Copied as files, which costs half of what copying through the log does.
            await connection.execute(
                f"CREATE DATABASE {name} TEMPLATE {template} OWNER {service}_owner STRATEGY FILE_COPY"
            )
            urls = [self.server.url(name, f"{service}_{role}") for role in ("app", "owner")]
            try:
                if template == service:  # What is granted inside of it was copied.
                    await connection.execute(";".join(database_grants(service, name)))
                else:
                    async with self.server.connection(name) as inside:
                        await inside.execute(";".join(grants(service, name)))
                yield Clone(name, self.server, *urls)
            finally:
                for url in urls:
                    disconnect(url)
                await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def memory_or_disk() -> str:
    """Return a folder in memory if there is one with room for databases and programs: a clone is 300 files."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK | os.X_OK) or os.statvfs(memory).f_flag & os.ST_NOEXEC:
        return "/tmp"
    return str(memory) if shutil.disk_usage(memory).free > ROOM_BYTES else "/tmp"


@contextmanager
def passable_folder(parent: str = "/tmp") -> Iterator[Path]:
    """Give a short folder that, where the tests run as root, the server's own user can pass through."""
    with tempfile.TemporaryDirectory(prefix="azt", dir=parent) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def databases() -> AsyncIterator[Databases]:
    """Run a PostgreSQL for the session."""
    with passable_folder(memory_or_disk()) as folder:
        async with postgres.running(folder, SERVICES) as server:
            yield Databases(server)


def _clone(service: str) -> Callable[[Databases], AsyncIterator[Clone]]:
    async def clone(databases: Databases) -> AsyncIterator[Clone]:
        async with databases.clone(service) as given:
            yield given

    return clone


def _chosen(name: str) -> Callable[[pytest.FixtureRequest], Clone]:
    def chosen(request: pytest.FixtureRequest) -> Clone:
        return shared_or_own(request, name, Clone)

    return chosen


own_auth_database = pytest_asyncio.fixture(_clone("auth"))
own_education_database = pytest_asyncio.fixture(_clone("education"))
own_payment_database = pytest_asyncio.fixture(_clone("payment"))

shared_auth_database = pytest_asyncio.fixture(_clone("auth"), scope="module")
shared_education_database = pytest_asyncio.fixture(_clone("education"), scope="module")
shared_payment_database = pytest_asyncio.fixture(_clone("payment"), scope="module")

auth_database = pytest.fixture(_chosen("auth_database"))
education_database = pytest.fixture(_chosen("education_database"))
payment_database = pytest.fixture(_chosen("payment_database"))
