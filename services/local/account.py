"""The user that PostgreSQL runs as: it refuses root, so root's runs as an unprivileged user id of its own."""

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
DYNAMIC_IDS = range(61184, 65520)
"""User ids that systems leave to programs for use without an entry in /etc/passwd (systemd's DynamicUser)."""


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

    def own(self, folder: Path) -> None:
        """Give `folder` and all that is in it to this user; for root alone, and only what is ours already."""
        # By descriptors: a name that is swapped for a link meanwhile leads nowhere else.
        for _, folders, names, descriptor in os.fwalk(folder):
            os.fchown(descriptor, self.uid, self.gid)
            for name in (*folders, *names):
                os.chown(name, self.uid, self.gid, dir_fd=descriptor, follow_symlinks=False)


def caller() -> Account:
    """Return the user who runs us. Its name is what PostgreSQL's peer authentication sees."""
    return Account(user_name(os.geteuid()), os.geteuid(), os.getegid())


def database_account(fingerprint: str) -> Account:
    """Return the user that PostgreSQL of a home runs as: the caller, or for root a user id of that home's own.

    Root's has no entry in /etc/passwd: nothing else runs as that id, and nothing is added to the machine.
    Raises UserUnnamed.
    """
    if os.geteuid():
        try:
            return Account(pwd.getpwuid(os.geteuid()).pw_name, os.geteuid(), os.getegid())
        except KeyError:
            raise UserUnnamed(uid=os.geteuid()) from None
    taken = {entry.pw_uid for entry in pwd.getpwall()} | {entry.pw_gid for entry in pwd.getpwall()}
    first = int(fingerprint, 16) % len(DYNAMIC_IDS)
    free = (number for number in (*DYNAMIC_IDS[first:], *DYNAMIC_IDS[:first]) if number not in taken)
    uid = next(free)
    return Account(f"uid {uid}", uid, uid)


def naming_account(account: Account) -> Account:
    """Return the user that makes the data of `account`: initdb refuses a user id without a name. Raises UserUnnamed."""
    if account.is_caller:
        return account
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise UserUnnamed(uid=account.uid) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def user_name(uid: int) -> str:
    """Return a user's name, or the number of one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
