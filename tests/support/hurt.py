"""A started system with two replicas of each service over TCP and short-lived certificates, and what hurts it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio

from tests.support.services import SERVICES
from tests.support.steady import SteadyLoad, carried_rate
from tests.support.system import local_system
from tests.support.waiting import eventually, paced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.system import LocalSystem

CERTIFICATE_SECONDS = 18.0
"""Lifetime of certificates; they are renewed after two thirds of it."""


@pytest.fixture(scope="module")
def replicated() -> Iterator[LocalSystem]:
    """Run the system for the module; check at the end that Ctrl-C leaves nothing of it."""
    with local_system(AZORA_CERTIFICATE_HOURS=str(CERTIFICATE_SECONDS / 3600)) as system:
        system.start("--tcp", *(argument for name in SERVICES for argument in ("--replicas", f"{name}=2")))
        yield system
        system.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def load(replicated: LocalSystem) -> AsyncIterator[SteadyLoad]:
    """Give the load, which nothing but Envoy retries; check at the end that each payment was made once."""
    async with httpx.AsyncClient(base_url=replicated.edge, timeout=20, trust_env=False) as http:
        steady = SteadyLoad(replicated, http, retries=False)
        await steady.prepare()
        yield steady
        assert await steady.paid_once()
        await steady.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rate(load: SteadyLoad, pytestconfig: pytest.Config) -> int:
    """Give the calls a second that the machine carries, and print them."""
    carried = await carried_rate(load)
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
