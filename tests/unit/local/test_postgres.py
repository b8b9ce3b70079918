"""The real PostgreSQL, from the wheel's binaries."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from services.local import postgres, supervised
from services.local.account import naming_account
from services.local.errors import DataOfAnotherVersion, ProcessFailed
from services.local.orphans import Register
from services.local.supervised import SupervisedProcess
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
async def server(home: Path) -> AsyncIterator[SupervisedProcess]:
    """Run a server in a home that is closed to everyone else."""
    cluster = postgres.locate(home, durable=False)
    await cluster.initialise(home / "initdb.log")
    process = SupervisedProcess(
        cluster.process(home / "postgres.log"), Register(home / "processes.json"), lambda _: None
    )
    await process.start()
    yield process
    await process.stop()


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


async def test_it_recovers_from_a_kill_with_all_that_was_committed(home: Path, server: SupervisedProcess) -> None:
    cluster = postgres.locate(home)
    await cluster.provision(["auth"])
    assert server.pid
    os.kill(server.pid, signal.SIGKILL)

    async def is_gone() -> bool:
        return server.pid is None

    assert await eventually(is_gone)
    await _started(server)
    assert "auth" in await _names(cluster, "SELECT datname FROM pg_database")


async def test_a_lock_whose_process_number_went_to_another_does_not_hinder_it(
    home: Path, server: SupervisedProcess
) -> None:
    cluster = postgres.locate(home)
    await server.stop()
    lock = cluster.data / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{cluster.data}\n")
    lock.chmod(0o600)
    os.chown(lock, cluster.account.uid, cluster.account.gid)
    (cluster.sockets / f".s.PGSQL.{postgres.PORT}.lock").write_text(f"{os.getpid()}\n")
    await server.start()
    assert await cluster.answers()


async def test_only_its_user_can_come_near_it(home: Path, server: SupervisedProcess) -> None:
    cluster = postgres.locate(home)
    assert _owner(cluster.sockets) == _owner(cluster.data) == cluster.account.uid
    assert _owner(home) == os.geteuid()


async def test_nobody_but_who_started_it_may_connect_not_even_the_user_it_runs_as(
    home: Path, server: SupervisedProcess
) -> None:
    cluster = postgres.locate(home)
    assert await _names(cluster, "SELECT current_user") == {"postgres"}
    if os.geteuid() != 0:
        assert cluster.account.is_caller  # Then they are the same user, and nobody else can enter the folder.
        return
    assert "Peer authentication failed" in await _as_the_servers_user(cluster)


async def test_data_of_an_earlier_version_is_taken_over_and_trusts_nobody(
    home: Path, server: SupervisedProcess
) -> None:
    cluster = postgres.locate(home)
    await server.stop()
    _make_older(cluster)
    await cluster.initialise(home / "initdb.log")
    await server.start()
    assert await _names(cluster, "SHOW hba_file") == {str(cluster.folder / "pg_hba.conf")}
    assert await _names(cluster, "SELECT DISTINCT auth_method FROM pg_hba_file_rules") == {"peer"}
    assert _owner(cluster.data) == cluster.account.uid


async def test_a_server_that_is_killed_while_a_session_holds_its_memory_comes_back(
    home: Path, server: SupervisedProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised, "BACKOFF_SECONDS", 0.01)
    cluster = postgres.locate(home)
    watcher = asyncio.create_task(server.watch())
    async with cluster.connection("postgres") as session:
        backend = await session.fetchval("SELECT pg_backend_pid()")
        os.kill(backend, signal.SIGSTOP)
        killed = server.pid
        assert killed
        os.kill(killed, signal.SIGKILL)

        async def failed_often() -> bool:
            log = (home / "postgres.log").read_text()
            return log.count("pre-existing shared memory block") > supervised.MAX_QUICK_FAILURES

        assert await eventually(failed_often)
        os.kill(backend, signal.SIGCONT)
        assert await eventually(cluster.answers)
    assert not watcher.done()
    watcher.cancel()


def _make_older(cluster: Cluster) -> None:
    """Leave the data as earlier versions did: whoever connects is trusted, and root's belongs to `nobody`."""
    (cluster.data / "pg_hba.conf").write_text("local all all trust\n")
    if os.geteuid() == 0:
        naming_account(cluster.account).own(cluster.data)


async def _as_the_servers_user(cluster: Cluster) -> str:
    """Return what the server answers to its own user, who asks to be the superuser."""
    psql = cluster.binaries / "bin" / "psql"
    process = await asyncio.create_subprocess_exec(
        *(psql, "--no-psqlrc", "--username", "postgres", "--host", cluster.sockets, "--command", "SELECT 1"),
        env={},
        stderr=asyncio.subprocess.PIPE,
        **cluster.account.spawning(),
    )
    _, said = await process.communicate()
    return said.decode()


async def test_data_of_another_version_is_not_touched(home: Path, server: SupervisedProcess) -> None:
    cluster = postgres.locate(home)
    await server.stop()
    (cluster.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(DataOfAnotherVersion, match=r"PostgreSQL 17, .*make reset"):
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


async def _started(process: SupervisedProcess) -> None:
    """Start the process again; sessions of the killed server may hold its memory for a moment."""

    async def attempt() -> bool:
        try:
            await process.start()
        except ProcessFailed:
            return False
        return True

    assert await eventually(attempt)
