"""Where things lie: the home of what is kept, and a short private folder for the sockets of a run."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.local.account import Account, owner_name
from services.local.errors import FolderOfAnother, HomeOfAnother, HomeRefused, NoShortFolder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SOCKET_PATH_BYTES = 107
SOCKET_NAME_BYTES = 24
"""Room for the longest name of a socket that a part makes in its folder."""


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
    def register(self) -> Path:
        """The processes of this run."""
        return self.home / "processes.json"

    @property
    def lock(self) -> Path:
        """Held by the run that is alive."""
        return self.home / "run.lock"

    @property
    def bootstrap(self) -> Path:
        """What Envoy runs."""
        return self.home / "envoy.json"

    def log(self, part: str) -> Path:
        """Return the log of a part."""
        return self.logs / f"{part}.log"

    def socket(self, name: str) -> Path:
        """Return the socket of that name."""
        return self.runtime / f"{name}.sock"

    def target(self, name: str) -> str:
        """Return the gRPC address of the socket of that name."""
        return f"unix:{self.socket(name)}"


def fingerprint(home: Path) -> str:
    """Return a short name of `home`, the same on every run and different for every home."""
    return hashlib.sha256(os.fsencode(home)).hexdigest()[:10]


def make_home(home: Path) -> None:
    """Make the folder of all state, for its owner alone. Raises HomeOfAnother or HomeRefused.

    Root's may be passed through, not listed, by others: PostgreSQL runs as another user and keeps its data inside.
    """
    try:
        if not home.exists():
            home.mkdir(parents=True)
            home.chmod(0o700 if os.geteuid() else 0o711)
        if home.stat().st_uid != os.geteuid():
            raise HomeOfAnother(home=home, owner=owner_name(home))
        if not os.access(home, os.W_OK | os.X_OK):
            raise HomeRefused(home=home, reason="no permission to write")
    except OSError as error:
        raise HomeRefused(home=home, reason=error.strerror) from None


def make_layout(home: Path, caller: Account, candidates: Sequence[Path]) -> Layout:
    """Make the folders of the system at `home`, which exists. Raises NoShortFolder, FolderOfAnother."""
    layout = Layout(home, socket_folder(f"azora-{fingerprint(home)}", caller, candidates))
    for folder in (layout.logs, layout.pki, layout.secrets):
        private_folder(folder, caller)
    return layout


def socket_folder(name: str, account: Account, candidates: Sequence[Path]) -> Path:
    """Make a private folder `name` in the first candidate where `account` can go and a socket's path is short enough.

    Raises NoShortFolder, and FolderOfAnother when the name is there already and not private to `account`.
    """
    for candidate in candidates:
        length = len(os.fsencode(candidate / name)) + 1 + SOCKET_NAME_BYTES
        if candidate.is_dir() and os.access(candidate, os.W_OK) and length <= SOCKET_PATH_BYTES:
            if account.may_enter(candidate):
                return private_folder(candidate / name, account)
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
