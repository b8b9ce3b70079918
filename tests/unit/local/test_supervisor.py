"""Parts that start, break, come back and stop: small real processes, no stand-ins for them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from services.local import part as part_module
from services.local.errors import PartFailed
from services.local.leftovers import Register, living_leftovers
from services.local.part import Part, Plan, State
from services.local.processes import Command
from services.local.supervisor import Supervisor
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SERVES = """
import pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
pathlib.Path(sys.argv[1]).touch()
signal.sigwait({signal.SIGTERM})
print('stopped in order', flush=True)
"""
DEAF = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
signal.pause()
"""


class Stage:
    """Makes plans in a folder and hears what is said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.register = Register(folder / "processes.json")

    def plan(self, name: str, source: str = SERVES) -> Plan:
        """Return a part that is ready once its mark is there."""
        mark = self.folder / f"{name}.ready"

        async def ready() -> bool:
            return mark.exists()

        return Plan(
            name=name,
            command=Command((sys.executable, "-S", "-c", source, str(mark)), dict(os.environ), self.folder / name),
            ready=ready,
            prepare=lambda: mark.unlink(missing_ok=True),
            start_seconds=5,
            stop_seconds=5,
        )

    def part(self, plan: Plan) -> Part:
        """Return the part of a plan."""
        return Part(plan, self.register, self.said.append)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(part_module, "BACKOFF_SECONDS", 0.01)
    return Stage(tmp_path)


@pytest.fixture
async def kept(stage: Stage) -> AsyncIterator[Part]:
    """Keep a part running during the test."""
    part = stage.part(stage.plan("payment"))
    await part.start()
    keeper = asyncio.create_task(part.keep())
    yield part
    keeper.cancel()
    await asyncio.gather(keeper, return_exceptions=True)
    await part.stop()


async def _run(supervisor: Supervisor, *stages: list[Plan]) -> None:
    """Start the stages, then cancel their keepers, as Ctrl-C does."""
    async with asyncio.TaskGroup() as keepers:
        for plans in stages:
            await supervisor.start(plans, keepers)
        raise asyncio.CancelledError


async def test_a_part_starts_and_stops_in_order(stage: Stage) -> None:
    part = stage.part(stage.plan("payment"))
    await part.start()
    assert part.state is State.READY
    assert living_leftovers(stage.folder / "processes.json") == ["payment"]
    await part.stop()
    assert part.pid is None
    assert (stage.folder / "payment").read_text() == "stopped in order\n"
    assert living_leftovers(stage.folder / "processes.json") == []


async def test_a_killed_part_is_reported_and_comes_back(stage: Stage, kept: Part) -> None:
    killed = kept.pid
    assert killed
    os.kill(killed, signal.SIGKILL)

    async def is_back() -> bool:
        return "payment is back" in stage.said

    assert await eventually(is_back)
    assert stage.said[0] == "payment ended (killed by SIGKILL); starting it again in 0.01 s"
    assert kept.state is State.READY
    assert kept.pid not in (None, killed)


async def test_one_that_was_well_for_long_starts_its_count_anew(
    stage: Stage, kept: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_module, "QUICK_SECONDS", 0.0)
    for times in range(1, part_module.QUICK_FAILURES_MAX + 2):
        assert kept.pid
        os.kill(kept.pid, signal.SIGKILL)

        async def is_back(times: int = times) -> bool:
            return stage.said.count("payment is back") == times

        assert await eventually(is_back)
    assert {text for text in stage.said if "again" in text} == {
        "payment ended (killed by SIGKILL); starting it again in 0.01 s"
    }


async def test_five_quick_failures_in_a_row_are_the_end(stage: Stage) -> None:
    part = stage.part(stage.plan("payment"))
    await part.start()
    broken = stage.plan("payment", "import sys; sys.exit('no table')")
    part.plan = replace(part.plan, command=broken.command)
    part.kill()
    with pytest.raises(PartFailed, match=r"payment ended 5 times in a row \(the last time: exit code 1\)") as failure:
        await part.keep()
    assert failure.value.last_lines.endswith("no table")
    assert len(stage.said) >= part_module.QUICK_FAILURES_MAX - 1
    await part.stop()


async def test_one_that_ends_while_it_starts_fails_at_once(stage: Stage) -> None:
    part = stage.part(stage.plan("payment", "import sys; sys.exit('AZORA_SECRET_KEY is missing')"))
    with pytest.raises(PartFailed, match=r"ended while it started \(exit code 1\)") as failure:
        await part.start()
    assert failure.value.last_lines == "AZORA_SECRET_KEY is missing"
    await part.stop()


async def test_one_that_never_gets_ready_is_ended(stage: Stage) -> None:
    part = stage.part(replace(stage.plan("payment", "import signal; signal.pause()"), start_seconds=0.3))
    with pytest.raises(PartFailed, match="was not ready after 0 seconds"):
        await part.start()
    await part.stop()
    assert part.pid is None


async def test_one_that_does_not_stop_is_insisted_on(stage: Stage) -> None:
    part = stage.part(replace(stage.plan("payment", DEAF), stop_seconds=0.3))
    await part.start()
    assert part.pid
    await part.stop()
    assert part.pid is None
    assert stage.said == ["payment did not stop within 0 s; insisting"]


async def test_stages_stop_in_the_opposite_order(stage: Stage) -> None:
    order: list[str] = []

    def plan(name: str) -> Plan:
        async def farewell() -> None:
            order.append(name)

        return replace(stage.plan(name), farewell=farewell)

    supervisor = Supervisor(stage.register, stage.said.append)
    with pytest.raises(asyncio.CancelledError):
        await _run(supervisor, [plan("postgres")], [plan("auth"), plan("payment")], [plan("envoy")])
    await supervisor.stop()
    assert order[0] == "envoy"
    assert order[-1] == "postgres"
    assert living_leftovers(stage.folder / "processes.json") == []


async def test_when_one_cannot_be_kept_the_others_are_still_stopped(stage: Stage) -> None:
    supervisor = Supervisor(stage.register, stage.said.append)
    plans = [stage.plan("auth"), stage.plan("payment", "import sys; sys.exit(2)")]
    with pytest.raises(ExceptionGroup) as failures:
        await _run(supervisor, plans)
    assert failures.group_contains(PartFailed, match="payment")
    await supervisor.stop()
    assert living_leftovers(stage.folder / "processes.json") == []


async def test_a_second_interrupt_ends_everything_at_once(stage: Stage) -> None:
    supervisor = Supervisor(stage.register, stage.said.append)
    with pytest.raises(asyncio.CancelledError):
        await _run(supervisor, [stage.plan("auth", DEAF)])
    supervisor.kill()
    await supervisor.stop()
    assert stage.said == []
    assert living_leftovers(stage.folder / "processes.json") == []
