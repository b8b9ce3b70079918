"""The real PostgreSQL, from the wheel's binaries."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from services.local import postgres
from services.local.account import database_account
from services.local.errors import DataOfAnotherVersion, PartFailed
from services.local.leftovers import Register
from services.local.part import Part
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from services.local.postgres import Cluster
    from tests.support.postgres import Databases


@pytest.fixture
def home() -> Iterator[Path]:
    """Give a home whose PostgreSQL is wiped in the end."""
    with tempfile.TemporaryDirectory(prefix="azt", dir="/tmp") as folder:
        yield Path(folder)
        postgres.wipe(Path(folder))


@pytest.fixture
async def server(home: Path) -> AsyncIterator[Part]:
    """Run a server in a home that is closed to everyone else."""
    cluster = postgres.locate(home, durable=False)
    await cluster.initialise(home / "initdb.log")
    part = Part(cluster.plan(home / "postgres.log"), Register(home / "processes.json"), lambda _: None)
    await part.start()
    yield part
    await part.stop()


async def _names(cluster: Cluster, query: str) -> set[str]:
    async with cluster.connection("postgres") as connection:
        return {row[0] for row in await connection.fetch(query)}


async def test_a_service_gets_a_database_and_two_roles_and_may_ask_again(databases: Databases) -> None:
    cluster = databases.server
    await cluster.provision(["auth", "payment"])
    assert {"auth", "payment"} <= await _names(cluster, "SELECT datname FROM pg_database")
    roles = await _names(cluster, "SELECT rolname FROM pg_roles")
    assert {"auth_owner", "auth_app", "payment_owner", "payment_app"} <= roles


async def test_the_running_service_uses_what_its_owner_makes_and_cannot_change_it(databases: Databases) -> None:
    cluster = databases.server
    await cluster.provision(["shop", "bank"])
    owner = await asyncpg.connect(cluster.url("shop", "shop_owner", "postgresql"))
    await owner.execute("CREATE TABLE users (id bigserial PRIMARY KEY, name text)")
    await owner.close()
    app = await asyncpg.connect(cluster.url("shop", "shop_app", "postgresql"))
    assert await app.fetchval("INSERT INTO users (name) VALUES ('Ada') RETURNING id") == 1
    await app.execute("UPDATE users SET name = 'Eve'")
    await app.execute("DELETE FROM users")
    for forbidden in ("DROP TABLE users", "CREATE TABLE mine ()", "TRUNCATE users"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(forbidden)
    await app.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(cluster.url("bank", "shop_app", "postgresql"))


async def test_it_recovers_from_a_kill_with_all_that_was_committed(home: Path, server: Part) -> None:
    cluster = postgres.locate(home)
    await cluster.provision(["auth"])
    assert server.pid
    os.kill(server.pid, signal.SIGKILL)

    async def is_gone() -> bool:
        return server.pid is None

    assert await eventually(is_gone)
    await _started(server)
    assert "auth" in await _names(cluster, "SELECT datname FROM pg_database")


async def test_a_lock_whose_process_number_went_to_another_does_not_hinder_it(home: Path, server: Part) -> None:
    cluster = postgres.locate(home)
    await server.stop()
    lock = cluster.data / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{cluster.data}\n")
    lock.chmod(0o600)
    os.chown(lock, cluster.account.uid, cluster.account.gid)
    (cluster.sockets / f".s.PGSQL.{postgres.PORT}.lock").write_text(f"{os.getpid()}\n")
    await server.start()
    assert await cluster.answers()


async def test_only_its_user_can_come_near_it(home: Path, server: Part) -> None:
    cluster = postgres.locate(home)
    assert _owner(cluster.sockets) == _owner(cluster.data) == database_account().uid
    assert _owner(home) == os.geteuid()


async def test_data_of_another_version_is_not_touched(home: Path, server: Part) -> None:
    cluster = postgres.locate(home)
    await server.stop()
    (cluster.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(DataOfAnotherVersion, match=r"PostgreSQL 17's.*make reset"):
        await cluster.initialise(home / "initdb.log")


async def test_a_making_that_was_cut_off_is_begun_anew(home: Path) -> None:
    cluster = postgres.locate(home, durable=False)
    half_made(cluster.folder / "draft")
    await cluster.initialise(home / "initdb.log")
    assert (cluster.data / "PG_VERSION").read_text() == "18\n"


def half_made(folder: Path) -> None:
    folder.mkdir()
    (folder / "half").write_text("")


async def test_a_throw_away_server_leaves_nothing_behind(home: Path) -> None:
    async with postgres.running(home, ["auth"]) as cluster:
        assert "auth" in await _names(cluster, "SELECT datname FROM pg_database")
    assert not cluster.folder.exists()
    assert not cluster.sockets.exists()


async def test_binaries_that_its_user_cannot_read_are_copied(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.local.account.Account.may_read", lambda *_: False)
    async with postgres.running(home) as cluster:
        assert cluster.binaries.is_relative_to(cluster.folder)
        assert await cluster.answers()


def _owner(folder: Path) -> int:
    """Return who owns the folder, which nobody else can enter."""
    found = folder.stat()
    assert found.st_mode & 0o077 == 0
    return found.st_uid


async def _started(part: Part) -> None:
    """Start the part again; sessions of the killed server may hold its memory for a moment."""

    async def attempt() -> bool:
        try:
            await part.start()
        except PartFailed:
            return False
        return True

    assert await eventually(attempt)
