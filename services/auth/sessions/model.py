"""Sessions and their refresh tokens."""

from __future__ import annotations

from dataclasses import dataclass


class EpochChanged(Exception):
    """All sessions of the user were ended since what a new session rests on was checked."""


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in of one user: a family of refresh tokens, each the successor of the one before."""

    id: str
    user_id: str
    family_secret_sealed: bytes
    epoch: int
    """The user's epoch."""


@dataclass(frozen=True, slots=True)
class UsedToken:
    """A refresh token that was used before, of a session that has not ended."""

    session: Session
    repeatable: bool
    """Whether it was used a moment ago and its successor was not used yet: perhaps the answer was lost."""


@dataclass(frozen=True, slots=True)
class IssuedSession:
    """A session with its newest refresh token, in the clear."""

    session_id: str
    user_id: str
    epoch: int
    refresh_token: str
