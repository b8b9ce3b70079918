"""Sessions and their refresh tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

BROWSERS = {
    "Edg": "Edge",
    "OPR/": "Opera",
    "SamsungBrowser/": "Samsung Internet",
    "Firefox/": "Firefox",
    "FxiOS/": "Firefox",
    "Chrome/": "Chrome",
    "CriOS/": "Chrome",
    "Safari/": "Safari",
    "curl/": "curl",
    "grpc": "gRPC client",
}
"""Names of clients by what is in their User-Agent. Each also has the marks of those after it, which it imitates."""
SYSTEMS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "CrOS": "ChromeOS",
    "Mac OS X": "macOS",
    "Linux": "Linux",
}
"""The same for operating systems."""


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
class OpenSession:
    """A session that has not ended, as its user sees it."""

    id: str
    device: str
    """Name of the device; empty if it is unknown."""
    address: str
    create_time: datetime
    last_use_time: datetime
    expire_time: datetime
    """When it ends if it is not used before."""


@dataclass(frozen=True, slots=True)
class UsedToken:
    """A refresh token that was used before, of a session that has not ended."""

    session: Session
    repeatable: bool
    """Whether it was used a moment ago and its successor was not used yet: perhaps the answer was lost."""


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token that was not used, of a session that has not ended."""

    user_id: str
    session_id: str
    create_time: datetime
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class IssuedSession:
    """A session with its newest refresh token, in the clear."""

    session_id: str
    user_id: str
    epoch: int
    refresh_token: str


def device_of(user_agent: str) -> str:
    """Return the browser and operating system of a User-Agent, "Firefox on Windows"; empty if it tells neither.

    A handful of names, not the thousand patterns of a library, which take 30 MB and half a second to load: people need
    to recognise their own devices.
    """
    browser = next((name for mark, name in BROWSERS.items() if mark in user_agent), "")
    system = next((name for mark, name in SYSTEMS.items() if mark in user_agent), "")
    return " on ".join(filter(None, (browser, system)))
