"""Accounts: people, their addresses and profiles."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

EMAIL_CHARACTERS_MAX = 254
LOCAL_PART_CHARACTERS_MAX = 64
WORD = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
DELIVERABLE = re.compile(rf"{WORD}(?:\.{WORD})*@(?:{LABEL}\.)+(?![0-9]+\Z){LABEL}")
"""An address with a public domain (RFC 5321 without quoted local parts and address literals)."""


class Role(StrEnum):
    """What a person is on the platform, named as in azora.policy.v1.Role."""

    STUDENT = "ROLE_STUDENT"
    EDUCATOR = "ROLE_EDUCATOR"
    ADMIN = "ROLE_ADMIN"


@dataclass(frozen=True, slots=True)
class EmailAddress:
    """An e-mail address as it is kept: NFC, without spaces around it, its domain in lower case."""

    text: str

    @classmethod
    def parse(cls, text: str) -> EmailAddress | None:
        """Return the address that `text` means, or None if mail could never reach it."""
        local_part, _, domain = unicodedata.normalize("NFC", text.strip()).rpartition("@")
        address = f"{local_part}@{domain.lower()}"
        deliverable = (
            len(address) <= EMAIL_CHARACTERS_MAX
            and len(local_part) <= LOCAL_PART_CHARACTERS_MAX
            and DELIVERABLE.fullmatch(address)
        )
        return cls(address) if deliverable else None

    @property
    def folded(self) -> str:
        """The same for all spellings that differ in case alone; unique among accounts."""
        return self.text.casefold()

    @property
    def local_part(self) -> str:
        """What stands before the @."""
        return self.text.rpartition("@")[0]


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account."""

    id: str
    email: str
    role: Role
    name: str
    bio: str
    avatar_url: str
    location: str
    timezone: str
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True)
class NewUser:
    """An account to be made."""

    id: str
    email: EmailAddress
    password_hash: str
    role: Role
    name: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a password is checked against, and the account it opens."""

    user: User
    password_hash: str


@dataclass(frozen=True, slots=True)
class Presence:
    """A user and whether the session that speaks for them is still open."""

    user: User
    session_open: bool


@dataclass(frozen=True, slots=True)
class ProfileChanges:
    """New values of a profile; None leaves a field as it is."""

    name: str | None = None
    bio: str | None = None
    avatar_url: str | None = None
    location: str | None = None
    timezone: str | None = None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A user with the tokens of a session."""

    user: User
    access_token: str
    refresh_token: str
    expires_in_seconds: int
