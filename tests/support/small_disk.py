"""A disk for a system's PostgreSQL that is small enough to be filled: a tmpfs, mounted in a way that is permitted."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.local.processes import Identity

MIB = 1024**2
SIZE_MIB = 640
"""Four databases, the binaries where its user cannot read ours, and more log than the tests make it write."""


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """Where it is mounted, and how."""

    folder: Path
    way: str
    """How it was mounted; empty where that is not permitted."""
    run_by: Sequence[str] = ()
    """What starts a process that sees it."""

    def fill(self, process: Identity) -> None:
        """Take all the room that is left; `process` sees the disk."""
        with self._ballast(process).open("ab") as ballast, suppress(OSError):
            while True:  # Whole pieces first, then what is left.
                found = os.fstatvfs(ballast.fileno())
                room = max(found.f_bavail * found.f_frsize, found.f_frsize)
                os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, room)

    def clear(self, process: Identity) -> None:
        """Give all room back."""
        self._ballast(process).unlink(missing_ok=True)

    def _ballast(self, process: Identity) -> Path:
        return Path(f"/proc/{process.pid}/root{self.folder}/ballast")


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Give a disk on `folder`, which is there and empty: for the processes that it runs, or for all until the end."""
    own: tuple[str, ...]
    mount = f'mount -t tmpfs -o size={SIZE_MIB}m,mode=711 azora "$0"'
    if os.geteuid() == 0:
        own = ("unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', str(folder))
        if _permitted(own):
            yield SmallDisk(folder, "tmpfs in a mount namespace", own)
            return
    else:
        back = f"unshare --user --map-user={os.geteuid()} --map-group={os.getegid()}"
        own = (
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            f'{mount} && exec {back} "$@"',
            str(folder),
        )
        if _permitted(own):
            yield SmallDisk(folder, "tmpfs in a user and mount namespace", own)
            return
        owned = f"size={SIZE_MIB}m,mode=711,uid={os.geteuid()},gid={os.getegid()}"
        if _succeeds(("sudo", "-n", "mount", "-t", "tmpfs", "-o", owned, "azora", str(folder))):
            try:
                yield SmallDisk(folder, "tmpfs mounted by sudo")
            finally:
                _succeeds(("sudo", "-n", "umount", "--lazy", str(folder)))
            return
    yield SmallDisk(folder, "")


def _permitted(run_by: Sequence[str]) -> bool:
    return _succeeds((*run_by, "true"))


def _succeeds(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 - our own command
    except FileNotFoundError:
        return False
