"""Orphaned processes of an earlier run: found by its register, and stopped before the next run begins."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, TextIO

from services.deployment.files import write_private
from services.local.errors import AlreadyRunning
from services.local.processes import Identity, identify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

STOP_SECONDS = 8.0
POLL_SECONDS = 0.05


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold the home for this run. Raises AlreadyRunning, with the process id of the run that holds it.

    The kernel drops the lock with the process that held it, however that ended: it is never stale.
    """
    with path.open("a+") as file:
        _lock(file, fcntl.LOCK_EX, path)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def is_running(path: Path) -> bool:
    """Whether a run holds the lock."""
    try:
        check_not_running(path)
    except AlreadyRunning:
        return True
    return False


def check_not_running(path: Path) -> None:
    """Check that no run holds the lock, and change nothing. Raises AlreadyRunning."""
    if path.exists():
        with path.open() as file:
            _lock(file, fcntl.LOCK_SH, path)


def _lock(file: TextIO, kind: int, path: Path) -> None:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise AlreadyRunning(home=path.parent, pid=file.read().strip()) from None


@dataclass(frozen=True, slots=True)
class Registered:
    """A process of a run."""

    identity: Identity
    stop_signal: signal.Signals
    addresses: Mapping[str, str]
    """Its listen addresses, as in `ProcessSpec`."""


class Register:
    """The processes of a run, recorded in a file as they start and end, so that the next run finds its orphans."""

    def __init__(self, path: Path, warn: Callable[[str], None] = lambda _: None) -> None:
        self._path = path
        self._warn = warn
        self._writable = True
        self._entries: dict[str, Registered] = {}

    def add(
        self, name: str, pid: int, stop_signal: signal.Signals, addresses: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Record that the process of that name runs as `pid`."""
        identity = identify(pid)
        if identity is not None:
            self._entries[name] = Registered(identity, stop_signal, addresses)
            self._write()

    def remove(self, name: str) -> None:
        """Record that the process of that name has ended."""
        if self._entries.pop(name, None):
            self._write()

    def _write(self) -> None:
        entries = {
            name: {
                "pid": entry.identity.pid,
                "started": entry.identity.started,
                "stop_signal": entry.stop_signal.value,
                "addresses": dict(entry.addresses),
            }
            for name, entry in self._entries.items()
        }
        try:
            write_private(self._path, json.dumps(entries, indent=2).encode())
        except OSError as error:  # A full disk: supervising the processes matters more than recording them.
            if self._writable:
                self._warn(f"cannot write {self._path} ({error.strerror}): a killed run may leave orphaned processes")
            self._writable = False
        else:
            self._writable = True


def living_orphans(path: Path) -> list[str]:
    """Return the names of the processes of an earlier run that are still alive."""
    return [name for name, entry in read_register(path).items() if entry.identity.alive]


def stop_orphans(path: Path) -> list[str]:
    """Stop the processes of an earlier run that are still alive, and return their names."""
    alive = {name: entry for name, entry in read_register(path).items() if entry.identity.alive}
    for number in (None, signal.SIGKILL):
        for entry in alive.values():
            entry.identity.send(number or entry.stop_signal)
        deadline = time.monotonic() + STOP_SECONDS
        while any(entry.identity.alive for entry in alive.values()) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    path.unlink(missing_ok=True)
    return list(alive)


def read_register(path: Path) -> dict[str, Registered]:
    """Return the recorded processes by name; none where there is no register."""
    try:
        entries = json.loads(path.read_bytes())
        return {
            name: Registered(
                Identity(entry["pid"], entry["started"]), signal.Signals(entry["stop_signal"]), entry["addresses"]
            )
            for name, entry in entries.items()
        }
    except (OSError, ValueError, KeyError):
        return {}
