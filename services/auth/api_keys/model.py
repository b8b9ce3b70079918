"""API keys."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from services.shared.opaque_tokens import new_token

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from services.auth.tokens.model import AccessToken

MAX_API_KEYS = 50
"""Maximum number of a user's keys that are neither expired nor revoked."""
DEFAULT_LIFETIME = timedelta(days=90)
MAX_LIFETIME = timedelta(days=366)
KEPT_EXPIRED = timedelta(days=30)
"""How long a key that has expired is listed."""
MARK = "azk"
"""What every key begins with, by which scanners for secrets find them."""
PREFIX_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as its user sees it."""

    id: str
    user_id: str
    name: str
    prefix: str
    """What the key begins with."""
    scopes: Sequence[str]
    create_time: datetime
    expire_time: datetime
    last_use_time: datetime | None


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key to be made."""

    name: str
    scopes: Sequence[str]
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class IssuedApiKey:
    """A key that was made, and its text, which is not kept."""

    api_key: ApiKey
    key: str


@dataclass(frozen=True, slots=True)
class UsedApiKey:
    """A key that is exchanged, and its owner."""

    id: str
    scopes: Sequence[str]
    expire_time: datetime
    user_id: str
    role: str
    """That of the user, as are the fields below."""
    epoch: int
    email_verified: bool
    use_noted: bool
    """Whether the use of the key was noted within the last minute."""


@dataclass(frozen=True, slots=True)
class ExchangedApiKey:
    """The access token for a key."""

    access_token: AccessToken
    scopes: Sequence[str]


def new_key() -> tuple[str, str]:
    """Return a random key with 256 secret bits, and its prefix, which holds none of them."""
    letters = string.ascii_letters + string.digits
    prefix = f"{MARK}_{''.join(secrets.choice(letters) for _ in range(PREFIX_CHARACTERS))}"
    return f"{prefix}_{new_token()}", prefix


def is_key(text: str) -> bool:
    """Whether a token has the form of a key."""
    return text.startswith(f"{MARK}_")
