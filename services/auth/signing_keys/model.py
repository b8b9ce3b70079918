"""Signing keys and when they may change their state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class KeyState(StrEnum):
    """Stage of a signing key's life. All but a retired key are published."""

    NEXT = "NEXT"
    """Published, and not yet used. There is always one, so that a leaked key can be replaced at once."""
    ACTIVE = "ACTIVE"
    """Signs; there is one."""
    RETIRING = "RETIRING"
    """No longer signs; its private key is erased. Tokens that it signed may still be valid."""
    RETIRED = "RETIRED"
    """No longer published: no token that it signed is valid."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What verifies a key's signatures: a point on the curve P-256, its coordinates in base64url."""

    id: str
    x: str
    y: str

    def jwk(self) -> Mapping[str, str]:
        """Return the key as a JSON Web Key (RFC 7518, section 6.2)."""
        return {
            "kty": "EC",
            "crv": "P-256",
            "x": self.x,
            "y": self.y,
            "kid": self.id,
            "alg": "ES256",
            "use": "sig",
        }


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key pair; the private key is encrypted for the row of its id."""

    public: PublicKey
    private_key_sealed: bytes


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A signing key as the database keeps it. Ages are in seconds of the database's clock."""

    id: str
    state: KeyState
    private_key_sealed: bytes | None
    """None once the key no longer signs."""
    age_seconds: float
    published_seconds: float | None
    """Time since the key is known to be published; None until that was observed."""
    signing_seconds: float | None
    """Time since the key became active."""
    retiring_seconds: float | None
    """Time since the key is known to have been replaced."""
    revoked: bool


@dataclass(frozen=True, slots=True)
class Signer:
    """The active signing key, decrypted."""

    key_id: str
    private_key_pem: bytes


@dataclass(frozen=True, slots=True)
class KeyTimes:
    """Times that decide when signing keys change their state, in seconds."""

    rotation_seconds: float
    """Time that a key signs until the schedule replaces it."""
    publication_seconds: float
    """Time after which every cache holds a published key."""
    retirement_seconds: float
    """Time after which no token of a replaced key is valid."""

    def wait_seconds(self, key: SigningKey) -> float:
        """Return how much longer a key must be published before it may sign."""
        if key.published_seconds is None:
            return self.publication_seconds
        return max(0.0, self.publication_seconds - key.published_seconds)

    def is_due(self, active: SigningKey) -> bool:
        """Whether the schedule replaces the active key."""
        return (active.signing_seconds or 0.0) >= self.rotation_seconds


@dataclass(frozen=True, slots=True)
class Rotation:
    """Outcome of an attempt to replace the active key."""

    active_key_id: str
    next_key_id: str
    wait_seconds: float
    """How much longer the next key must be published before it may sign; 0 once the active key was replaced."""
