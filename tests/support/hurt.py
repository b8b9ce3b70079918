"""A started system with two replicas of each service over TCP and short-lived certificates, and what hurts it."""

from __future__ import annotations

import signal
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio

from tests.support.checked_load import CheckedLoad, late, resumed_seconds, unexcused
from tests.support.ports import free_port
from tests.support.redis import running_redis
from tests.support.services import SERVICES
from tests.support.small_disk import small_disk
from tests.support.steady import SteadyLoad, carried_rate
from tests.support.system import UNTRACED, local_system
from tests.support.waiting import eventually, paced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.redis import Redis
    from tests.support.small_disk import SmallDisk
    from tests.support.system import LocalSystem

CERTIFICATE_SECONDS = 18.0
"""Lifetime of certificates; they are renewed after two thirds of it."""
RATE_LIMIT_SCALE = 30
"""More than the load needs, and little enough for a test to guess passwords until it is refused."""
RESUMED_SECONDS = 5.0
CARRIED = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def counters() -> Iterator[Redis]:
    """Run the server of the rate limits' counters."""
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as redis:
        yield redis


@pytest.fixture(scope="session")
def hurt_system(counters: Redis) -> Iterator[tuple[LocalSystem, SmallDisk]]:
    """Run the system for the session; check at the end that Ctrl-C leaves nothing of it."""
    settings = {
        "AZORA_CERTIFICATE_HOURS": str(CERTIFICATE_SECONDS / 3600),
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


@pytest.fixture(scope="session")
def replicated(hurt_system: tuple[LocalSystem, SmallDisk]) -> LocalSystem:
    """Give the running system."""
    return hurt_system[0]


@pytest.fixture(scope="session")
def disk(hurt_system: tuple[LocalSystem, SmallDisk]) -> SmallDisk:
    """Give the disk of its PostgreSQL."""
    return hurt_system[1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def load(replicated: LocalSystem) -> AsyncIterator[SteadyLoad]:
    """Give the load, which nothing but Envoy retries; check at the end that each payment was made once."""
    async with httpx.AsyncClient(base_url=replicated.edge, timeout=20, trust_env=False) as http:
        steady = SteadyLoad(replicated, http, retries=False)
        await steady.prepare()
        yield steady
        assert await steady.paid_once()
        await steady.close()


@pytest_asyncio.fixture(loop_scope="module")
async def checked(replicated: LocalSystem) -> AsyncIterator[CheckedLoad]:
    """Give load of new people, whose ledger can be checked after the test."""
    async with httpx.AsyncClient(base_url=replicated.edge, timeout=20, trust_env=False) as http:
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


def say(config: pytest.Config, text: str) -> None:
    """Print what a test measured, however it ends."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(text)


async def go_on(seconds: float) -> None:
    """Wait while the load goes on."""
    async for _ in paced(1, seconds):
        pass


async def freeze(system: LocalSystem, process: str, seconds: float) -> None:
    """Freeze a process for some seconds of the load."""
    frozen = system.processes()[process]
    frozen.send(signal.SIGSTOP)
    try:
        await go_on(seconds)
    finally:
        frozen.send(signal.SIGCONT)


async def renewals(system: LocalSystem, count: int) -> None:
    """Wait until the certificates have been renewed so many times from now on."""

    def renewed() -> int:
        return system.output.count("mesh certificates renewed")

    wanted = renewed() + count

    async def enough() -> bool:
        return renewed() >= wanted

    await eventually(enough, within_seconds=(count + 1) * CERTIFICATE_SECONDS)


@asynccontextmanager
async def survived(load: CheckedLoad, rate: int, name: str, config: pytest.Config) -> AsyncIterator[None]:
    """Run load around a fault; check all that must hold at its end and after it."""
    async with load.running(rate / 2) as outcomes:  # The other half is for what the fault makes them do.
        await go_on(2)
        yield
        over = time.monotonic()
        await go_on(RESUMED_SECONDS + 2)
    resumed = resumed_seconds(outcomes, over)
    say(config, f"{name}: resumed after {resumed:.1f} s; {outcomes}")
    assert outcomes.failed, "it did not hurt"
    assert late(outcomes) == []
    assert unexcused(outcomes) == []
    assert resumed < RESUMED_SECONDS
    assert await load.check() == []
