"""Erasures: how far the deletion of an account has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class EraseAccount:
    """Job: have every service erase a user, and then delete the account."""

    user_id: str

    @property
    def once(self) -> str:
        """The name under which it is enqueued once."""
        return f"erase_account:{self.user_id}"


@dataclass(frozen=True, slots=True)
class EraseRemainder:
    """Job: have every service erase a deleted user once more, when none accepts an access token of theirs."""

    user_id: str

    @property
    def once(self) -> str:
        """The name under which it is enqueued once."""
        return f"erase_remainder:{self.user_id}"


@dataclass(frozen=True, slots=True)
class ServiceErasure:
    """What one service has erased."""

    service: str
    confirm_time: datetime | None
    """None until everything is erased there."""
    pending: str
    """What it waited for at the last attempt; empty before the first, and once it has confirmed."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """The deletion of an account."""

    user_id: str
    requester_id: str
    """User ID of who requested it: the user, or an administrator."""
    request_time: datetime
    complete_time: datetime | None
    """None until the account is deleted."""
    services: tuple[ServiceErasure, ...]
    """In the order in which they are asked."""
