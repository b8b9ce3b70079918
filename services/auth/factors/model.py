"""Time-based one-time passwords (RFC 6238), recovery codes and challenges."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

TOTP_SECRET_BYTES = 20
"""160 bits, as RFC 4226, section 4 recommends."""
TOTP_DIGITS = 6
TOTP_STEP_SECONDS = 30
TOTP_DRIFT_STEPS = 1
"""Steps before and after the current one whose codes are accepted (RFC 6238, section 5.2)."""
MAX_ENROLLMENT_AGE = timedelta(minutes=15)
"""Time to confirm a new secret."""

RECOVERY_CODES = 10
RECOVERY_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
"""Digits and letters that are not mistaken for one another."""
RECOVERY_CHARACTERS = 16
"""79 bits, kept as digests under a key that the database does not hold."""
RECOVERY_GROUP_CHARACTERS = 4

CHALLENGE_LIFETIME = timedelta(minutes=5)
MAX_CHALLENGE_TRIES = 5


class Factor(StrEnum):
    """Factor that a code belongs to."""

    TOTP = "TOTP"
    RECOVERY_CODE = "RECOVERY_CODE"


@dataclass(frozen=True, slots=True)
class Totp:
    """A user's secret of one-time passwords."""

    user_id: str
    secret_sealed: bytes
    confirmed: bool
    expired: bool
    """Whether it was not confirmed in time."""


@dataclass(frozen=True, slots=True)
class FactorStatus:
    """Which second factors a user has."""

    totp_enabled: bool
    recovery_codes_left: int


@dataclass(frozen=True, slots=True)
class Challenge:
    """A sign-in whose password was right and whose code is still to come."""

    user_id: str
    device_id: str | None
    """The known device that it came from."""
    device_name: str
    """What the client calls the device; empty without a name."""
    epoch: int
    """The user's when the password was checked: a new password, which raises it, ends the challenge."""


@dataclass(frozen=True, slots=True)
class IssuedChallenge:
    """A challenge with its id in the clear, which is a secret of the caller's."""

    id: str
    expire_time: datetime


def new_recovery_codes() -> list[str]:
    """Return new recovery codes, in groups for people to read."""
    codes = [
        "".join(secrets.choice(RECOVERY_ALPHABET) for _ in range(RECOVERY_CHARACTERS)) for _ in range(RECOVERY_CODES)
    ]
    return [_grouped(code) for code in codes]


def plain_code(text: str) -> str:
    """Return a code without what people put between its characters."""
    return re.sub(r"[\s-]+", "", text).lower()


def is_totp_code(code: str) -> bool:
    """Whether a plain code is one of an authenticator's, rather than a recovery code."""
    return len(code) == TOTP_DIGITS and code.isascii() and code.isdecimal()


def _grouped(code: str) -> str:
    step = RECOVERY_GROUP_CHARACTERS
    return "-".join(code[start : start + step] for start in range(0, len(code), step))
