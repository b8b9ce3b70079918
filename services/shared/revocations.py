"""Revocations of access tokens, as Auth lists them and every service reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Revoked:
    """The tokens of one session, those of one user below an epoch, or those that one key signed."""

    session_id: str = ""
    user_id: str = ""
    before_epoch: int = 0
    """The user's tokens of a lower epoch are rejected."""
    except_session_id: str = ""
    """Session of the user whose tokens are not rejected."""
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class RevokedPage:
    """A page of revocations, and the database's time when it was read."""

    items: Sequence[Revoked]
    next_page_token: str
    database_time: datetime


class RevocationSource(Protocol):
    """Lists revocations."""

    async def list_revocations(self, *, since: datetime | None, page_token: str) -> RevokedPage:
        """Return a page of the revocations since the time of an earlier page; None: of all unexpired tokens."""
        ...
