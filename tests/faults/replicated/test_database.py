"""Steady load through Envoy while PostgreSQL is killed, frozen, out of connections or out of disk.

Calls end in time and say why, nothing that was acknowledged is lost, and the service resumes by itself.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.hurt import go_on, say, survived
from tests.support.postgres_faults import Connections, frozen_postgres
from tests.support.waiting import paced

if TYPE_CHECKING:
    from tests.support.checked_load import CheckedLoad
    from tests.support.small_disk import SmallDisk
    from tests.support.system import LocalSystem

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]
FROZEN_SECONDS = 10.0
WITHOUT_SECONDS = 5.0


async def test_postgres_killed(
    replicated: LocalSystem, checked: CheckedLoad, rate: int, pytestconfig: pytest.Config
) -> None:
    async with survived(checked, rate, "PostgreSQL killed", pytestconfig):
        await replicated.end_process("postgres", signal.SIGKILL)


async def test_postgres_frozen(
    replicated: LocalSystem, checked: CheckedLoad, rate: int, pytestconfig: pytest.Config
) -> None:
    async with survived(checked, rate, "PostgreSQL frozen", pytestconfig):
        with frozen_postgres(replicated.processes()["postgres"].pid):
            await go_on(FROZEN_SECONDS)


async def test_postgres_out_of_connections(
    replicated: LocalSystem, checked: CheckedLoad, rate: int, pytestconfig: pytest.Config
) -> None:
    async with Connections.of(replicated) as connections:
        await connections.take()  # Before the load: PostgreSQL is busy with that for seconds.
        async with survived(checked, rate, "PostgreSQL out of connections", pytestconfig):
            await connections.take_from_services()
            say(pytestconfig, f"{connections.count} connections taken")
            await go_on(WITHOUT_SECONDS)
            connections.give_back()


async def test_postgres_out_of_disk(
    replicated: LocalSystem, disk: SmallDisk, checked: CheckedLoad, rate: int, pytestconfig: pytest.Config
) -> None:
    assert disk.way, "needs the permission to mount: root's, a user namespace's, or sudo's without a password"
    say(pytestconfig, f"disk: {disk.way}")
    server = replicated.processes()["envoy"]  # It sees the disk, and is there whatever PostgreSQL does.
    async with survived(checked, rate, "PostgreSQL out of disk", pytestconfig):
        async for _ in paced(5, WITHOUT_SECONDS):
            disk.fill(server)
        disk.clear(server)
