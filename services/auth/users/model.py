"""Users as administrators list and see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from services.auth.accounts.model import Role, User, UserState
    from services.auth.erasures.model import Erasure


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which users to list; None and an empty text leave a condition out."""

    query: str
    """Is contained in the name or begins the e-mail address, regardless of case."""
    role: Role | None
    state: UserState | None
    start_time: datetime | None
    """Earliest time of registration, inclusive."""
    end_time: datetime | None
    """Latest time of registration, exclusive."""


@dataclass(frozen=True, slots=True)
class UserDetails:
    """A user, and what only administrators see of the account."""

    user: User
    unlock_time: datetime | None
    """End of the wait after failed attempts to sign in; None if the user need not wait."""
    erasure: Erasure | None
    """How far the deletion has come; None for an account that is not being deleted."""


@dataclass(frozen=True, slots=True)
class RolePermissions:
    """A role and the names of the permissions that it is granted."""

    role: Role
    permissions: frozenset[str]
