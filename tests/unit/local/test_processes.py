"""Child processes, and the files that a killed run can be recognised by."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.local.errors import AlreadyRunning, StepFailed
from services.local.orphans import Register, is_running, living_orphans, run_lock, stop_orphans
from services.local.processes import Command, Identity, command_line, identify, run_step, spawn
from tests.support.waiting import eventually_sync

FOREVER = "import signal; signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"


def _python(source: str, log: Path, **more: object) -> Command:
    return Command((sys.executable, "-S", "-c", source), dict(os.environ), log, **more)  # type: ignore[arg-type]


async def test_a_child_has_a_session_of_its_own_and_logs_to_its_file(tmp_path: Path) -> None:
    source = "import os, sys; print(os.getsid(0) == os.getpid(), os.getcwd()); print('bad', file=sys.stderr)"
    await run_step("Trying", _python(source, tmp_path / "log", folder=tmp_path))
    assert sorted((tmp_path / "log").read_text().split("\n")) == ["", f"True {tmp_path}", "bad"]


async def test_a_child_has_the_niceness_that_it_is_given_or_else_its_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    own, processes = os.getpriority(os.PRIO_PROCESS, 0), []
    for allowed in (True, False):
        if not allowed:
            monkeypatch.setattr(os, "setpriority", refuse)
        processes.append(await spawn(_python(FOREVER, tmp_path / "log", niceness=own + 1)))
    assert [os.getpriority(os.PRIO_PROCESS, process.pid) for process in processes] == [own + 1, own]
    for process in processes:
        process.kill()
        await process.wait()


async def test_a_failed_step_shows_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"Migrating auth failed \(exit code 3\)") as failure:
        await run_step("Migrating auth", _python("import sys; print('no such table'); sys.exit(3)", tmp_path / "log"))
    assert failure.value.last_lines == "no such table"
    with pytest.raises(StepFailed, match="killed by SIGKILL"):
        await run_step("Trying", _python("import os; os.kill(os.getpid(), 9)", tmp_path / "log"))


async def test_a_process_is_told_apart_from_a_later_one_of_the_same_number(tmp_path: Path) -> None:
    process = await spawn(_python(FOREVER, tmp_path / "log"))
    identity = identify(process.pid)
    assert identity
    assert identity.alive
    assert not Identity(process.pid, "another time").alive
    Identity(process.pid, "another time").send(signal.SIGKILL)
    assert identity.alive
    identity.send(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    assert not identity.alive


def test_a_dead_process_that_nobody_waited_for_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        assert eventually_sync(lambda: identify(process.pid) is None)
    assert command_line(process.pid) == ""
    assert FOREVER not in command_line(os.getpid())
    assert "python" in command_line(os.getpid())


@pytest.mark.skipif(not Path("/bin/ps").exists(), reason="there is no ps to ask on this machine")
def test_without_proc_the_same_is_asked_of_ps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.local.processes.HAS_PROC", False)
    with subprocess.Popen([sys.executable, "-S", "-c", FOREVER]) as process:  # noqa: S603 - our own Python
        identity = identify(process.pid)
        assert identity
        assert identity.alive
        assert FOREVER in command_line(process.pid)
        process.kill()
        assert eventually_sync(lambda: not identity.alive)
    assert command_line(process.pid) == ""


def test_one_run_holds_the_home_and_the_next_is_told_which(tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    assert not is_running(lock)
    with run_lock(lock):
        assert is_running(lock)
        with pytest.raises(AlreadyRunning, match=f"kill {os.getpid()}"), run_lock(lock):
            pass
    assert not is_running(lock)


def test_the_lock_of_a_killed_run_is_free(tmp_path: Path) -> None:
    source = (
        "import pathlib, signal, sys; from services.local.orphans import run_lock\n"
        "with run_lock(pathlib.Path(sys.argv[1])): print('held', flush=True); signal.pause()"
    )
    arguments = [sys.executable, "-c", source, str(tmp_path / "lock")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own Python
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        assert is_running(tmp_path / "lock")
        process.kill()
        process.wait()
        assert not is_running(tmp_path / "lock")


@pytest.mark.parametrize("source", [FOREVER, DEAF])
def test_what_a_killed_run_left_is_ended(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.local.orphans.STOP_SECONDS", 0.5)
    path = tmp_path / "processes.json"
    register = Register(path)
    arguments = [sys.executable, "-c", f"print(flush=True); {source}"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own Python
        assert process.stdout
        process.stdout.readline()
        if source is DEAF:
            process.stdout.readline()
        register.add("payment", process.pid, signal.SIGTERM)
        register.add("auth", process.pid, signal.SIGTERM)
        register.remove("auth")
        assert living_orphans(path) == ["payment"]
        assert stop_orphans(path) == ["payment"]
        assert process.wait() in (-signal.SIGTERM, -signal.SIGKILL)
    assert stop_orphans(path) == []


def test_a_register_that_a_crash_spoiled_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "processes.json"
    path.write_text('{"auth": {"pid": 1')
    assert stop_orphans(path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_children_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    source = (
        "import asyncio, os, pathlib, sys\n"
        "from services.local.processes import Command, spawn\n"
        "async def main():\n"
        f"    command = Command((sys.executable, '-c', {FOREVER!r}), dict(os.environ), pathlib.Path(sys.argv[1]))\n"
        "    print((await spawn(command)).pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())"
    )
    arguments = [sys.executable, "-c", source, str(tmp_path / "log")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as parent:  # noqa: S603 - our own Python
        assert parent.stdout
        child = identify(int(parent.stdout.readline()))
        assert child
        parent.kill()
    assert eventually_sync(lambda: not child.alive)
