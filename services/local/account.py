"""Whom PostgreSQL runs as: it refuses root, so root's runs as an unprivileged user."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.local.errors import UserUnnamed

if TYPE_CHECKING:
    from pathlib import Path

UNPRIVILEGED = "nobody"


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int

    @property
    def is_caller(self) -> bool:
        """Whether this is the user who runs us."""
        return self.uid == os.geteuid()

    def spawning(self) -> dict[str, Any]:
        """Return the arguments with which a child process becomes this user; none for the caller."""
        return {} if self.is_caller else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def may_read(self, path: Path) -> bool:
        """Whether this user can read `path` (and enter it, if it is a folder): all folders above it let them pass.

        Judged by the permission bits for others, which is on the safe side.
        """
        if self.is_caller:
            return os.access(path, os.R_OK)
        mode = path.stat().st_mode
        needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
        return mode & needed == needed and self.may_enter(path.parent)

    def may_enter(self, folder: Path) -> bool:
        """Whether this user can pass through `folder` and all folders above it, as far as they exist."""
        existing = [step for step in (folder, *folder.parents) if step.exists()]
        if self.is_caller:
            return os.access(existing[0], os.X_OK)
        return all(step.stat().st_mode & stat.S_IXOTH for step in existing)


def caller() -> Account:
    """Return the user who runs us."""
    return Account(user_name(os.geteuid()), os.geteuid(), os.getegid())


def database_account() -> Account:
    """Return the user whom PostgreSQL runs as: the caller, or `nobody` for root. Raises UserUnnamed."""
    try:
        entry = pwd.getpwuid(os.geteuid()) if os.geteuid() else pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise UserUnnamed(uid=os.geteuid()) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def user_name(uid: int) -> str:
    """Return a user's name, or the number of one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
