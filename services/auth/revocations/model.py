"""Revocations of access tokens, and what they are for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from services.shared.revocations import Revoked


class Cause(StrEnum):
    """Why access tokens were revoked."""

    SIGNED_OUT = "SIGNED_OUT"
    REFRESH_TOKEN_REUSED = "REFRESH_TOKEN_REUSED"  # noqa: S105 - no password
    SESSION_REVOKED = "SESSION_REVOKED"
    SESSIONS_REVOKED = "SESSIONS_REVOKED"
    """All sessions, or all but the one that asked for it."""
    PASSWORD_CHANGED = "PASSWORD_CHANGED"  # noqa: S105 - no password
    PASSWORD_RESET = "PASSWORD_RESET"  # noqa: S105 - no password
    EMAIL_CHANGED = "EMAIL_CHANGED"
    MFA_CHANGED = "MFA_CHANGED"
    ROLE_CHANGED = "ROLE_CHANGED"
    """Ends access tokens alone: the sessions go on, and their next access token has the new role."""
    USER_DISABLED = "USER_DISABLED"
    USER_DELETED = "USER_DELETED"
    API_KEY_REVOKED = "API_KEY_REVOKED"
    SIGNING_KEY_REVOKED = "SIGNING_KEY_REVOKED"


KEEPS_SESSIONS = frozenset({Cause.ROLE_CHANGED})


@dataclass(frozen=True, slots=True)
class Revocation:
    """What was revoked, and when."""

    id: str
    create_time: datetime
    revoked: Revoked
