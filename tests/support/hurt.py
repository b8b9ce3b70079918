"""What hurts a running system, and what must hold around it."""

from __future__ import annotations

import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.checked_load import late, resumed_seconds, unexcused
from tests.support.waiting import eventually, paced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from tests.support.checked_load import CheckedLoad
    from tests.support.steady import Outcomes
    from tests.support.system import LocalSystem

CERTIFICATE_SECONDS = 15.0
"""Lifetime of certificates; they are renewed after two thirds of it."""
FRESH_SECONDS = 5.0
"""How old what is known of revocations may be for what needs fresh sessions."""
RESUMED_SECONDS = 5.0


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


async def outlast_certificates(outcomes: Outcomes) -> None:
    """Wait until the certificates of a load's beginning have expired."""
    await go_on(CERTIFICATE_SECONDS - outcomes.elapsed + 2)


@asynccontextmanager
async def survived(load: CheckedLoad, rate: int, name: str, config: pytest.Config) -> AsyncIterator[None]:
    """Run load around a fault; check all that must hold at its end and after it."""
    async with load.running(rate / 2) as outcomes:  # The other half is for what the fault makes them do.
        await go_on(2)
        yield
        over = time.monotonic()
        await go_on(RESUMED_SECONDS + 1)
    resumed = resumed_seconds(outcomes, over)
    say(config, f"{name}: resumed after {resumed:.1f} s; {outcomes}")
    assert outcomes.failed, "it did not hurt"
    assert late(outcomes) == []
    assert unexcused(outcomes) == []
    assert resumed < RESUMED_SECONDS
    assert await load.check() == []
