"""Child processes that end with their parent, and a way to know a process again."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.local.errors import StepFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.local.account import Account

HAS_PROC = sys.platform == "linux"
PR_SET_PDEATHSIG = 1
STATE_FIELD = 3
START_TIME_FIELD = 22
"""Fields of /proc/<pid>/stat, numbered as in proc(5)."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is run: with which arguments, in which environment and folder, as whom, and where its output goes."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    account: Account | None = None
    """Unset means the caller."""
    folder: Path = Path("/")
    death_signal: signal.Signals = signal.SIGKILL
    """What the child receives, where the system can, when its parent is gone."""
    niceness: int = 0
    """Below zero it is given more CPU time than others, where the caller may do that (CAP_SYS_NICE, which root has)."""


async def spawn(command: Command) -> asyncio.subprocess.Process:
    """Start the command in a session of its own, so that the terminal's Ctrl-C reaches the parent alone."""
    with command.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command.arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(command.environment),
            cwd=command.folder,
            start_new_session=True,
            # In the child, after it has changed user (that clears the death signal); nothing but two system calls.
            preexec_fn=_tie_to_parent(command.death_signal),
            **(command.account.spawning() if command.account else {}),
        )
    if command.niceness:
        _prefer(process.pid, command.niceness)
    return process


async def run_step(step: str, command: Command) -> None:
    """Run the command to its end. Raises StepFailed, with the end of its log, unless it succeeds."""
    process = await spawn(command)
    try:
        code = await process.wait()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    if code:
        raise StepFailed(step=step, what=how_it_ended(code), log=command.log)


def how_it_ended(code: int) -> str:
    """Say in words what an exit code means."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, told apart from a later one with the same number by when it started."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return identify(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        with suppress(ProcessLookupError):
            if self.alive:
                os.kill(self.pid, number)


def identify(pid: int) -> Identity | None:
    """Return the identity of the process `pid`, or None where there is none, or only a dead one nobody waited for."""
    if not HAS_PROC:
        return _identify_by_ps(pid)
    try:
        # The name, in brackets, may hold anything: what follows the last bracket is safe to split.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, started = fields[0], fields[START_TIME_FIELD - STATE_FIELD]
    return None if state in "ZX" else Identity(pid, started)


def command_line(pid: int) -> str:
    """Return what the process `pid` runs, with its arguments; empty where there is none."""
    if not HAS_PROC:
        return _ask_ps(pid, "args=")
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _identify_by_ps(pid: int) -> Identity | None:
    state, _, started = _ask_ps(pid, "stat=,lstart=").partition(" ")
    return None if not started or state.startswith("Z") else Identity(pid, started.strip())


def _ask_ps(pid: int, columns: str) -> str:
    command = ["/bin/ps", "-o", columns, "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - a number


def _prefer(pid: int, niceness: int) -> None:
    """Let a process that has just begun run before others, if that is allowed."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
        # Of its session: where Linux shares CPU time among sessions, as on desktops, the line above says nothing.
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))


def _tie_to_parent(number: signal.Signals) -> Callable[[], None] | None:
    """Return what makes a child receive `number` when its parent dies; None where the system has no such thing."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # It died before the line above.
            os.kill(os.getpid(), signal.SIGKILL)

    return tie
