"""Links that are sent by mail."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Purpose(StrEnum):
    """Purpose of a link."""

    EMAIL_VERIFICATION = "EMAIL_VERIFICATION"
    EMAIL_CHANGE = "EMAIL_CHANGE"
    EMAIL_UNDO = "EMAIL_UNDO"
    PASSWORD_RESET = "PASSWORD_RESET"  # noqa: S105 - a name


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a user: whoever has its token holds the mailbox of `email`."""

    purpose: Purpose
    user_id: str
    email: str
    """Address that it was sent to."""
    session_id: str | None = None
    """Session that asked for it, where that goes on after its use."""
