"""What tokens are found to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Introspection:
    """A valid token. Times are in Unix seconds."""

    user_id: str
    session_id: str
    """ID of the session or API key."""
    issue_time: int
    expire_time: int
    scopes: Sequence[str] | None = None
    """None for the tokens of a session, which have no limit."""
    token_id: str = ""
    """Unique identifier of an access token; empty for other tokens, as are the fields below."""
    issuer: str = ""
    audience: str = ""
