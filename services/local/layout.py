"""Directories and files of the local system: its home, and a short private folder for sockets."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.local.account import Account, caller
from services.local.errors import FolderOfAnother, HomeRefused, NoShortFolder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SOCKET_PATH_BYTES = 107
BELOW_BASE_BYTES = len("/azora-0123456789-db/gateway-http-99.sock") + 4
"""Room for the folder's name and the longest name in it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders and files of one local system."""

    home: Path
    """What is kept between runs."""
    runtime: Path
    """Sockets: short, private, made anew at need."""

    @property
    def logs(self) -> Path:
        """The folder of all logs."""
        return self.home / "logs"

    @property
    def pki(self) -> Path:
        """The mesh's authority, certificates and keys."""
        return self.home / "pki"

    @property
    def secrets(self) -> Path:
        """Each service's secret key."""
        return self.home / "secrets"

    @property
    def bootstrap(self) -> Path:
        """What Envoy runs."""
        return self.home / "envoy.json"

    @property
    def seeded(self) -> Path:
        """The mark of a system that has its development accounts and courses."""
        return self.home / "seeded"

    @property
    def kept(self) -> tuple[Path, ...]:
        """All of the home that is ours to wipe, but PostgreSQL's data."""
        files = self.bootstrap, self.seeded, register_path(self.home), lock_path(self.home)
        return self.logs, self.pki, self.secrets, *files

    def set_logs_aside(self) -> None:
        """Keep the logs of the run before as *.log.old, and those of no earlier one."""
        for log in self.logs.glob("*.log"):
            log.replace(log.with_suffix(".log.old"))

    def log(self, process: str) -> Path:
        """Return the log of a process."""
        return self.logs / f"{process}.log"

    def socket(self, name: str, replica: int = 0) -> Path:
        """Return the socket of a replica: payment.sock, then payment-1.sock, ... Envoy's bootstrap has the same."""
        return self.runtime / f"{replica_name(name, replica)}.sock"


def replica_name(service: str, replica: int) -> str:
    """Return the name of a replica's process: payment, then payment-1, payment-2, ..."""
    return f"{service}-{replica}" if replica else service


def lock_path(home: Path) -> Path:
    """Return the file that the run which is alive holds."""
    return home / "run.lock"


def register_path(home: Path) -> Path:
    """Return the file of the processes of a run."""
    return home / "processes.json"


def fingerprint(home: Path) -> str:
    """Return a short name of `home`, the same on every run and different for every home."""
    return hashlib.sha256(os.fsencode(home)).hexdigest()[:10]


def make_home(home: Path) -> None:
    """Make the folder of all state, for its owner alone. Raises HomeRefused.

    Root's may be passed through, not listed, by others: PostgreSQL runs as another user and keeps its data inside.
    """
    if home.is_dir():
        return
    try:
        home.mkdir(parents=True)
        home.chmod(0o700 if os.geteuid() else 0o711)
    except OSError as error:
        raise HomeRefused(home=home, reason=error.strerror) from None


def find_layout(home: Path, candidates: Sequence[Path]) -> Layout:
    """Return the layout of the system at `home`, making nothing. Raises NoShortFolder."""
    return Layout(home, find_socket_base(caller(), candidates) / f"azora-{fingerprint(home)}")


def make_layout(home: Path, candidates: Sequence[Path]) -> Layout:
    """Make the folders of the system at `home`, which exists. Raises NoShortFolder, FolderOfAnother."""
    layout = find_layout(home, candidates)
    for folder in (layout.runtime, layout.logs, layout.pki, layout.secrets):
        private_folder(folder, caller())
    return layout


def socket_folder(name: str, account: Account, candidates: Sequence[Path]) -> Path:
    """Make a private folder `name` for the sockets of `account`.

    Raises NoShortFolder, and FolderOfAnother when the name is there already and not private to `account`.
    """
    return private_folder(find_socket_base(account, candidates) / name, account)


def find_socket_base(account: Account, candidates: Sequence[Path]) -> Path:
    """Return the first candidate in which a folder of sockets for `account` can be. Raises NoShortFolder."""
    for candidate in candidates:
        usable = candidate.is_dir() and os.access(candidate, os.W_OK) and account.may_enter(candidate)
        if usable and len(os.fsencode(candidate)) + BELOW_BASE_BYTES <= SOCKET_PATH_BYTES:
            return candidate
    raise NoShortFolder(folders=", ".join(map(str, candidates)))


def private_folder(path: Path, account: Account) -> Path:
    """Make the folder for `account` alone, or check that it is one: never a link, never someone else's.

    Raises FolderOfAnother.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() != account.uid:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
        found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or found.st_mode & 0o077:
        raise FolderOfAnother(folder=path, owner=account.name)
    return path
