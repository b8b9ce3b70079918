"""Confirmations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.auth.accounts.model import User
    from services.auth.failures.model import Attempt


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A confirmation whose password was right; its code is used in the transaction of the change."""

    user: User
    session_id: str
    password_hash: str
    """Against which the password was checked."""
    code: str
    """Empty where the user has no second factor."""
    attempt: Attempt | None
    """None where the session is recent enough to need no password."""
