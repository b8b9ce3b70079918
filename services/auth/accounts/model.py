"""Accounts: people, their addresses and profiles."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

MAX_EMAIL_CHARACTERS = 254
MAX_LOCAL_PART_CHARACTERS = 64
WORD = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
DELIVERABLE = re.compile(rf"{WORD}(?:\.{WORD})*@(?:{LABEL}\.)+(?![0-9]+\Z){LABEL}")
"""An address with a public domain (RFC 5321 without quoted local parts and address literals)."""

UNKEPT = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, surrogates, line and paragraph separators."""
JOINERS = frozenset("\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")
"""The format characters (Cf) that writing needs: emoji of several people, Persian. Others reorder or hide text."""
BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Hangul fillers and the empty Braille pattern: letters and symbols without ink."""

NAME_RULE = "must have a visible character, and no line breaks, control or invisible formatting characters"


class Role(StrEnum):
    """What a person is on the platform, named as in azora.policy.v1.Role."""

    STUDENT = "ROLE_STUDENT"
    EDUCATOR = "ROLE_EDUCATOR"
    ADMIN = "ROLE_ADMIN"


class UserState(StrEnum):
    """State of an account."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"
    """Signs in no more, until an administrator enables it."""
    DELETING = "DELETING"
    """Is being erased. It no longer exists to anyone but administrators, and keeps its address until it is gone."""


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
            len(address) <= MAX_EMAIL_CHARACTERS
            and len(local_part) <= MAX_LOCAL_PART_CHARACTERS
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
class PersonName:
    """A display name as it is kept: NFC, on one line, with something to see and nothing that disguises it."""

    text: str

    @classmethod
    def parse(cls, text: str) -> PersonName | None:
        """Return the name that `text` means, or None if it is not one."""
        name = single_line(text)
        return cls(name) if name and any(map(_is_visible, name)) else None


def single_line(text: str) -> str | None:
    """Return a text as it is kept: NFC, without spaces around it. None if it cannot stand on one line as it is read."""
    line = unicodedata.normalize("NFC", text.strip())
    return None if any(map(_breaks_lines_or_order, line)) else line


def multiline(text: str) -> str | None:
    """Return a text of several lines as it is kept, or None if one of its lines could not be kept."""
    lines = [single_line(line.expandtabs()) for line in text.replace("\r\n", "\n").split("\n")]
    return None if None in lines else unicodedata.normalize("NFC", text.replace("\r\n", "\n"))


def _breaks_lines_or_order(character: str) -> bool:
    category = unicodedata.category(character)
    return category in UNKEPT or (category == "Cf" and character not in JOINERS)


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNPS" and character not in BLANK


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
    preferences: Mapping[str, Any]
    """A JSON object of the user's clients."""
    create_time: datetime
    update_time: datetime
    email_verified: bool
    state: UserState

    @property
    def greeting_name(self) -> str:
        """The name as mails may have it: none in a mail to an address that may be a stranger's."""
        return self.name if self.email_verified else ""


@dataclass(frozen=True, slots=True)
class NewUser:
    """An account to be made."""

    id: str
    email: EmailAddress
    password_hash: str
    role: Role
    name: PersonName
    email_verified: bool = False


@dataclass(frozen=True, slots=True)
class UserRegistered:
    """Event: a user's account was created."""

    user_id: str


@dataclass(frozen=True, slots=True)
class EmailVerified:
    """Event: a user's e-mail address was verified."""

    user_id: str


@dataclass(frozen=True, slots=True)
class UserRenamed:
    """Event: a user's display name was set or changed."""

    user_id: str
    name: str
    version: int
    """Of several events, that of the greatest version holds the current name."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a password is checked against, and the account it opens."""

    user: User
    password_hash: str
    epoch: int
    """The user's epoch when the hash was read: it is raised by whatever ends all of the user's sessions."""


@dataclass(frozen=True, slots=True)
class SessionCredentials:
    """What the password of a signed-in user is checked against, and the session of their access token."""

    user: User
    password_hash: str
    session_open: bool
    session_age: timedelta


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """A user and whether the session of their access token is still open."""

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
    preferences: Mapping[str, Any] | None = None
