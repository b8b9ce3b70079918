"""A started system with two replicas of each service over TCP and short-lived certificates, and load on it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.checked_load import CheckedLoad
from tests.support.http import plain_http
from tests.support.hurt import CERTIFICATE_SECONDS, FRESH_SECONDS, say
from tests.support.ports import free_port
from tests.support.redis import running_redis
from tests.support.services import SERVICES
from tests.support.small_disk import small_disk
from tests.support.steady import SteadyLoad, carried_rate
from tests.support.system import UNTRACED, local_system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.redis import Redis
    from tests.support.small_disk import SmallDisk
    from tests.support.system import LocalSystem

RATE_LIMIT_SCALE = 30
"""More than the load needs, and little enough for a test to guess passwords until it is refused."""
CARRIED = pytest.StashKey[int]()


@pytest.fixture(scope="package")
def counters() -> Iterator[Redis]:
    """Run the server of the rate limits' counters."""
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as redis:
        yield redis


@pytest.fixture(scope="package")
def hurt_system(counters: Redis) -> Iterator[tuple[LocalSystem, SmallDisk]]:
    """Run the system for all of them; check at the end that Ctrl-C leaves nothing of it."""
    settings = {
        "AZORA_CERTIFICATE_HOURS": str(CERTIFICATE_SECONDS / 3600),
        "AZORA_FRESH_SESSIONS_SECONDS": str(FRESH_SECONDS),
        "AZORA_METRICS_LISTEN": f"127.0.0.1:{free_port()}",
        "AZORA_RATE_LIMIT_SCALE": str(RATE_LIMIT_SCALE),
        "AZORA_REDIS_URL": counters.url,
        **UNTRACED,
    }
    with local_system(**settings) as system:
        folder = system.home / "postgres"
        folder.mkdir(parents=True)
        for made in (system.home, folder):
            made.chmod(0o711)
        with small_disk(folder) as disk:
            system.run_by = disk.run_by
            system.start("--tcp", *(argument for name in SERVICES for argument in ("--replicas", f"{name}=2")))
            yield system, disk
            system.stop()


@pytest.fixture(scope="package")
def replicated(hurt_system: tuple[LocalSystem, SmallDisk]) -> LocalSystem:
    """Give the running system."""
    return hurt_system[0]


@pytest.fixture(scope="package")
def disk(hurt_system: tuple[LocalSystem, SmallDisk]) -> SmallDisk:
    """Give the disk of its PostgreSQL."""
    return hurt_system[1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def load(replicated: LocalSystem) -> AsyncIterator[SteadyLoad]:
    """Give the load, which nothing but Envoy retries; check at the end that each payment was made once."""
    async with plain_http(replicated.edge, timeout=20) as http:
        steady = SteadyLoad(replicated, http, retries=False)
        await steady.prepare()
        yield steady
        assert await steady.paid_once()
        await steady.close()


@pytest_asyncio.fixture(loop_scope="module")
async def checked(replicated: LocalSystem) -> AsyncIterator[CheckedLoad]:
    """Give load of new people, whose ledger can be checked after the test."""
    async with plain_http(replicated.edge, timeout=20) as http:
        load = CheckedLoad(replicated, http)
        await load.prepare()
        yield load
        await load.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rate(load: SteadyLoad, pytestconfig: pytest.Config) -> int:
    """Give the calls a second that the machine carries, measured once, and print them."""
    carried = pytestconfig.stash.get(CARRIED, 0)
    if not carried:
        carried = pytestconfig.stash[CARRIED] = await carried_rate(load)
    say(pytestconfig, f"steady load: {carried} calls a second")
    return carried
