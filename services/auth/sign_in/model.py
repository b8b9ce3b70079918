"""Result of signing in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.auth.accounts.model import User


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A user with the tokens of a session."""

    user: User
    access_token: str
    refresh_token: str
    expires_in_seconds: int
    device_token: str = ""
    """Token of a new device; empty for a known one, and after a refresh."""
