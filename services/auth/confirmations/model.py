"""Confirmations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.auth.accounts.model import User


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A confirmation whose password was right."""

    user: User
    password_hash: str
    """Against which the password was checked."""
