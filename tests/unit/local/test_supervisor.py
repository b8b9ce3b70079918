"""Parts that start, break, come back and stop: small real processes, no stand-ins for them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from services.local import supervised
from services.local.errors import ProcessFailed
from services.local.orphans import Register, living_orphans
from services.local.processes import Command
from services.local.supervised import ProcessSpec, State, SupervisedProcess
from services.local.supervisor import Stage, Supervisor
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
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


class Workshop:
    """Makes specs in a folder and hears what is said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.register = Register(folder / "processes.json")

    def spec(self, name: str, source: str = SERVES) -> ProcessSpec:
        """Return a process that is ready once its mark is there."""
        mark = self.folder / f"{name}.ready"

        async def ready() -> bool:
            return mark.exists()

        return ProcessSpec(
            name=name,
            command=Command((sys.executable, "-S", "-c", source, str(mark)), dict(os.environ), self.folder / name),
            ready=ready,
            prepare=lambda: mark.unlink(missing_ok=True),
            start_seconds=5,
            stop_seconds=5,
        )

    def process(self, spec: ProcessSpec) -> SupervisedProcess:
        """Return the process of a spec."""
        return SupervisedProcess(spec, self.register, self.said.append)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setattr(supervised, "BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(supervised, "MAX_BACKOFF_SECONDS", 0.02)
    monkeypatch.setattr(supervised, "GIVE_UP_SECONDS", 0.0)
    return Workshop(tmp_path)


@pytest.fixture
async def kept(stage: Workshop) -> AsyncIterator[SupervisedProcess]:
    """Keep a process running during the test."""
    process = stage.process(stage.spec("payment"))
    await process.start()
    watcher = asyncio.create_task(process.watch())
    yield process
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    await process.stop()


async def _run(supervisor: Supervisor, *stages: list[ProcessSpec], order: Iterable[Stage] = Stage) -> None:
    """Start the stages in an order, then cancel their watchers, as Ctrl-C does."""
    async with asyncio.TaskGroup() as watchers:
        for stage, specs in zip(order, stages, strict=False):
            await supervisor.start(stage, specs, watchers)
        raise asyncio.CancelledError


async def test_a_part_starts_and_stops_in_order(stage: Workshop) -> None:
    process = stage.process(stage.spec("payment"))
    await process.start()
    assert process.state is State.READY
    assert living_orphans(stage.folder / "processes.json") == ["payment"]
    await process.stop()
    assert process.pid is None
    assert (stage.folder / "payment").read_text() == "stopped in order\n"
    assert living_orphans(stage.folder / "processes.json") == []


async def test_a_killed_part_is_reported_and_comes_back(stage: Workshop, kept: SupervisedProcess) -> None:
    killed = kept.pid
    assert killed
    os.kill(killed, signal.SIGKILL)

    async def is_back() -> bool:
        return "payment restarted" in stage.said

    assert await eventually(is_back)
    assert stage.said[0] == "payment ended (killed by SIGKILL); restarting in 0.01 s"
    assert kept.state is State.READY
    assert kept.pid not in (None, killed)


async def test_one_that_was_well_for_long_starts_its_count_anew(
    stage: Workshop, kept: SupervisedProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised, "QUICK_SECONDS", 0.0)
    for times in range(1, supervised.MAX_QUICK_FAILURES + 2):
        assert kept.pid
        os.kill(kept.pid, signal.SIGKILL)

        async def is_back(times: int = times) -> bool:
            return stage.said.count("payment restarted") == times

        assert await eventually(is_back)
    assert {text for text in stage.said if "restarting" in text} == {
        "payment ended (killed by SIGKILL); restarting in 0.01 s"
    }


async def test_five_quick_failures_in_a_row_are_the_end(stage: Workshop) -> None:
    process = stage.process(stage.spec("payment"))
    await process.start()
    broken = stage.spec("payment", "import sys; sys.exit('no table')")
    process.spec = replace(process.spec, command=broken.command)
    process.kill()
    with pytest.raises(
        ProcessFailed, match=r"payment ended 5 times in a row \(the last time: exit code 1\)"
    ) as failure:
        await process.watch()
    assert failure.value.last_lines.endswith("no table")
    assert len(stage.said) >= supervised.MAX_QUICK_FAILURES - 1
    await process.stop()


async def test_failures_are_the_end_only_after_ten_seconds(stage: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed PostgreSQL left holds its memory for seconds."""
    monkeypatch.setattr(supervised, "GIVE_UP_SECONDS", 60.0)
    process = stage.process(stage.spec("postgres"))
    await process.start()
    healthy = process.spec
    process.spec = replace(healthy, command=stage.spec("postgres", "import sys; sys.exit(1)").command)
    process.kill()
    watcher = asyncio.create_task(process.watch())

    async def failed_often() -> bool:
        return len(stage.said) > 2 * supervised.MAX_QUICK_FAILURES

    assert await eventually(failed_often)
    process.spec = healthy

    async def is_back() -> bool:
        return "postgres restarted" in stage.said

    assert await eventually(is_back)
    watcher.cancel()
    await process.stop()


async def test_a_full_disk_ends_neither_the_supervisor_nor_what_it_watches(stage: Workshop) -> None:
    """Neither its register nor a log can be written: it says so once, and goes on."""
    stage.register = Register(stage.folder / "no such folder" / "processes.json", stage.said.append)
    process = stage.process(stage.spec("payment"))
    await process.start()
    assert len(stage.said) == 1
    assert "cannot write" in stage.said[0]
    healthy = process.spec
    no_log = replace(healthy.command, log=stage.folder / "no such folder" / "log")
    process.spec = replace(healthy, command=no_log)
    process.kill()
    watcher = asyncio.create_task(process.watch())

    async def failed() -> bool:
        return len(stage.said) > 2

    assert await eventually(failed)
    process.spec = healthy

    async def is_back() -> bool:
        return "payment restarted" in stage.said

    assert await eventually(is_back)
    assert len([text for text in stage.said if "cannot write" in text]) == 1
    watcher.cancel()
    await process.stop()


async def test_one_that_ends_while_it_starts_fails_at_once(stage: Workshop) -> None:
    process = stage.process(stage.spec("payment", "import sys; sys.exit('AZORA_SECRET_KEY is missing')"))
    with pytest.raises(ProcessFailed, match=r"ended while starting \(exit code 1\)") as failure:
        await process.start()
    assert failure.value.last_lines == "AZORA_SECRET_KEY is missing"
    await process.stop()


async def test_one_that_never_gets_ready_is_ended(stage: Workshop) -> None:
    process = stage.process(replace(stage.spec("payment", "import signal; signal.pause()"), start_seconds=0.3))
    with pytest.raises(ProcessFailed, match="was not ready after 0 seconds"):
        await process.start()
    await process.stop()
    assert process.pid is None


async def test_one_that_does_not_stop_is_insisted_on(stage: Workshop) -> None:
    process = stage.process(replace(stage.spec("payment", DEAF), stop_seconds=0.3))
    await process.start()
    assert process.pid
    await process.stop()
    assert process.pid is None
    assert stage.said == ["payment did not stop within 0 s; killing it"]


async def test_stages_stop_in_the_opposite_order(stage: Workshop) -> None:
    order: list[str] = []

    def spec(name: str) -> ProcessSpec:
        async def pre_stop() -> None:
            order.append(name)

        return replace(stage.spec(name), pre_stop=pre_stop)

    supervisor = Supervisor(stage.register, stage.said.append)
    with pytest.raises(asyncio.CancelledError):
        await _run(supervisor, [spec("postgres")], [spec("auth"), spec("payment")], [spec("envoy")])
    await supervisor.stop()
    assert order[0] == "envoy"
    assert order[-1] == "postgres"
    assert living_orphans(stage.folder / "processes.json") == []


async def test_envoy_stops_before_the_gateway_that_started_after_it(stage: Workshop) -> None:
    """A start that seeds has the gateway last: it stopped first, and Envoy answered for it meanwhile."""
    order: list[str] = []

    def spec(name: str) -> ProcessSpec:
        async def pre_stop() -> None:
            order.append(name)

        return replace(stage.spec(name), pre_stop=pre_stop)

    supervisor = Supervisor(stage.register, stage.said.append)
    begun = {Stage.DATABASE: "postgres", Stage.SERVICES: "auth", Stage.EDGE: "envoy", Stage.GATEWAY: "gateway"}
    with pytest.raises(asyncio.CancelledError):
        await _run(supervisor, *([spec(name)] for name in begun.values()), order=begun)
    await supervisor.stop()
    assert order == ["envoy", "auth", "gateway", "postgres"]


async def test_when_one_cannot_be_kept_the_others_are_still_stopped(stage: Workshop) -> None:
    supervisor = Supervisor(stage.register, stage.said.append)
    specs = [stage.spec("auth"), stage.spec("payment", "import sys; sys.exit(2)")]
    with pytest.raises(ExceptionGroup) as failures:
        await _run(supervisor, specs)
    assert failures.group_contains(ProcessFailed, match="payment")
    await supervisor.stop()
    assert living_orphans(stage.folder / "processes.json") == []


def _replicas(stage: Workshop) -> list[ProcessSpec]:
    names = ("payment", "payment-1")
    return [replace(stage.spec(name), addresses={"payment": f"unix:/{name}.sock"}) for name in names]


async def test_a_replica_that_keeps_failing_does_not_end_the_others(stage: Workshop) -> None:
    """It is restarted for ever, while Envoy is told of those that are left; the last replica is not given up so."""
    supervisor, live = Supervisor(stage.register, stage.said.append), list[list[str]]()
    supervisor.changed = lambda: live.append(supervisor.live("payment"))

    async def failed_often() -> bool:
        return len([text for text in stage.said if "ended" in text]) > 2 * supervised.MAX_QUICK_FAILURES

    async def fail_one_after_the_other() -> None:
        async with asyncio.TaskGroup() as watchers:
            await supervisor.start(Stage.SERVICES, _replicas(stage), watchers)
            assert supervisor.live("payment") == ["unix:/payment.sock", "unix:/payment-1.sock"]
            one, other = supervisor.processes
            other.spec = replace(other.spec, command=stage.spec("payment-1", "import sys; sys.exit(1)").command)
            other.kill()
            await eventually(failed_often)
            assert supervisor.live("payment") == ["unix:/payment.sock"]
            one.spec = replace(one.spec, command=stage.spec("payment", "import sys; sys.exit(2)").command)
            one.kill()

    with pytest.raises(ExceptionGroup) as failures:
        await fail_one_after_the_other()
    assert failures.group_contains(ProcessFailed, match=r"ended \d+ times in a row")
    assert live[-1] == ["unix:/payment.sock", "unix:/payment-1.sock"], "the last ones stay known"
    await supervisor.stop()


async def test_a_replica_that_kept_failing_and_is_well_again_does_the_work_of_another(
    stage: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised, "QUICK_SECONDS", 0.2)
    supervisor = Supervisor(stage.register, stage.said.append)

    def failed_often(name: str) -> Callable[[], Awaitable[bool]]:
        async def often() -> bool:
            return len([text for text in stage.said if f"{name} ended" in text]) > 2 * supervised.MAX_QUICK_FAILURES

        return often

    async def fail_one_after_the_other() -> None:
        async with asyncio.TaskGroup() as watchers:
            await supervisor.start(Stage.SERVICES, _replicas(stage), watchers)
            one, other = supervisor.processes
            well = other.spec
            other.spec = replace(well, command=stage.spec("payment-1", "import sys; sys.exit(1)").command)
            other.kill()
            await eventually(failed_often("payment-1"))
            assert other.failing
            other.spec = well

            async def is_well() -> bool:
                return not other.failing

            await eventually(is_well)
            one.spec = replace(one.spec, command=stage.spec("payment", "import sys; sys.exit(2)").command)
            one.kill()
            await eventually(failed_often("payment"))
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await fail_one_after_the_other()
    await supervisor.stop()


async def test_a_replica_that_is_back_is_live_again(stage: Workshop) -> None:
    supervisor, live = Supervisor(stage.register, stage.said.append), list[list[str]]()

    async def is_back() -> bool:
        return "payment restarted" in stage.said

    async def kill_one() -> None:
        async with asyncio.TaskGroup() as watchers:
            await supervisor.start(Stage.SERVICES, _replicas(stage), watchers)
            supervisor.changed = lambda: live.append(supervisor.live("payment"))
            supervisor.processes[0].kill()
            await eventually(is_back)
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await kill_one()
    await supervisor.stop()
    assert live == [["unix:/payment-1.sock"], ["unix:/payment.sock", "unix:/payment-1.sock"]]


async def test_a_second_interrupt_ends_everything_at_once(stage: Workshop) -> None:
    supervisor = Supervisor(stage.register, stage.said.append)
    with pytest.raises(asyncio.CancelledError):
        await _run(supervisor, [stage.spec("auth", DEAF)])
    supervisor.kill()
    await supervisor.stop()
    assert stage.said == []
    assert living_orphans(stage.folder / "processes.json") == []
