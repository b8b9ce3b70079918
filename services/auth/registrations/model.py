"""Pending registrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.auth.accounts.model import NewUser


@dataclass(frozen=True, slots=True)
class PendingRegistration:
    """One attempt to register: an account that its link creates."""

    id: str
    new: NewUser


@dataclass(frozen=True, slots=True)
class SendRegistration:
    """Job: mail the link of a pending registration, or a notice to an address that has an account."""

    registration_id: str
