"""What prepares the PostgreSQL of Compose and Kubernetes, run for real: the same rights as locally."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from services.deployment.compose_secrets import make_secrets
from services.local.postgres import PORT, Cluster, running
from tests.support.compose import ROOT, containers, mounted
from tests.support.kubernetes import of_kind
from tests.support.services import SERVICES

if TYPE_CHECKING:
    import asyncpg

RIGHTS = """
    SELECT datname AS name, pg_get_userbyid(datdba) AS owner, array(SELECT unnest(datacl)::text ORDER BY 1)::text
    FROM pg_database
    WHERE NOT datistemplate AND datname <> 'postgres'
    UNION ALL
    SELECT rolname, NULL, concat_ws(' ', rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolinherit) FROM pg_roles
    WHERE rolname NOT LIKE 'pg\\_%' AND rolname <> 'postgres'
    ORDER BY 1, 2
"""
RIGHTS_WITHIN = """
    SELECT nspname AS name, array(SELECT unnest(nspacl)::text ORDER BY 1)::text FROM pg_namespace
    WHERE nspname = 'public'
    UNION ALL
    SELECT concat(pg_get_userbyid(defaclrole), ' ', defaclobjtype),
        array(SELECT unnest(defaclacl)::text ORDER BY 1)::text FROM pg_default_acl
    UNION ALL
    SELECT oid::regprocedure::text, proacl::text FROM pg_proc WHERE proname LIKE 'lo\\_%'
    ORDER BY 1
"""


async def run_init(cluster: Cluster, secrets: Path) -> str:
    """Run the script as the image's entry point does; return what it said."""
    environment = os.environ | {
        "PATH": f"{cluster.binaries / 'bin'}:{os.environ['PATH']}",
        "PGHOST": str(cluster.sockets),
        "PGPORT": str(PORT),
        "AZORA_SECRETS_DIR": str(secrets),
    }
    process = await asyncio.create_subprocess_exec(
        ROOT / "deploy/postgres/init.sh",
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def rights(cluster: Cluster) -> list[tuple[str, ...]]:
    async def ask(connection: asyncpg.Connection, query: str) -> list[tuple[str, ...]]:
        return [tuple(row) for row in await connection.fetch(query)]

    async with cluster.connection("postgres") as connection:
        found = await ask(connection, RIGHTS)
    for service in SERVICES:
        async with cluster.connection(service) as connection:
            found += await ask(connection, RIGHTS_WITHIN)
    return found


async def run_bootstrap(cluster: Cluster) -> None:
    """Do what CloudNativePG does with an empty cluster, here for all services in one."""
    for found in of_kind("Cluster").values():
        init, (managed,) = found["spec"]["bootstrap"]["initdb"], found["spec"]["managed"]["roles"]
        async with cluster.connection("postgres") as connection:
            await connection.execute(f"CREATE ROLE {init['owner']} LOGIN")
            await connection.execute(f"CREATE DATABASE {init['database']} OWNER {init['owner']}")
            for statement in init["postInitSQL"]:
                await connection.execute(statement)
            await connection.execute(f"ALTER ROLE {managed['name']} LOGIN")
        async with cluster.connection(init["database"]) as connection:
            for statement in init["postInitApplicationSQL"]:
                await connection.execute(statement)


async def test_kubernetes_gives_what_the_local_system_gives() -> None:
    with tempfile.TemporaryDirectory(prefix="azt", dir="/tmp") as name:
        folders = [Path(name) / kind for kind in ("kubernetes", "local")]
        for folder in folders:
            folder.mkdir()
        async with running(folders[0]) as cluster:
            await run_bootstrap(cluster)
            by_operator = await rights(cluster)
        async with running(folders[1], SERVICES) as cluster:
            assert by_operator == await rights(cluster)


async def test_the_script_gives_what_the_local_system_gives() -> None:
    with tempfile.TemporaryDirectory(prefix="azt", dir="/tmp") as name:
        folder = Path(name)
        make_secrets(folder / "secrets")
        (folder / "script").mkdir()
        (folder / "local").mkdir()
        async with running(folder / "script") as cluster:
            assert await run_init(cluster, folder / "secrets") == ""
            by_script = await rights(cluster)
            async with cluster.connection("postgres") as connection:
                passwords = await connection.fetch(
                    "SELECT rolname, rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL"
                )
        async with running(folder / "local", SERVICES) as cluster:
            assert by_script == await rights(cluster)
    assert {row["rolname"] for row in passwords} == {f"{name}_{role}" for name in SERVICES for role in ("app", "owner")}
    assert all(row["rolpassword"].startswith("SCRAM-SHA-256$") for row in passwords)


def test_the_script_is_given_the_secrets_that_it_reads() -> None:
    read = {f"{service}_{kind}database_url" for service in SERVICES for kind in ("", "migration_")}
    assert read < set(mounted("postgres", "secrets"))
    assert "/docker-entrypoint-initdb.d/init.sh" in mounted("postgres", "configs")
    assert containers()["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/postgres_password"
