"""What services tell each other of revoked access tokens."""

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
    except_session_id: str = ""
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class RevokedPage:
    """Some revocations, and the database's time when they were read."""

    items: Sequence[Revoked]
    next_page_token: str
    database_time: datetime


class RevocationSource(Protocol):
    """Lists revocations."""

    async def list_revocations(self, *, since: datetime | None, page_token: str) -> RevokedPage:
        """Return what was revoked since an earlier page's time; None: all that tokens may be left of."""
        ...
