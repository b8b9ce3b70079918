"""Signing keys and the tokens they make."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class KeyState(StrEnum):
    """Where in its life a signing key is. All but a retired one are published."""

    NEXT = "NEXT"
    """Published, so that everyone knows it before it signs."""
    ACTIVE = "ACTIVE"
    """Signs; there is one."""
    RETIRING = "RETIRING"
    """Signs no more; tokens that it signed may still be good."""
    RETIRED = "RETIRED"


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
class SigningKey:
    """A key pair; the private half is encrypted for the row of its id."""

    public: PublicKey
    private_key_sealed: bytes


@dataclass(frozen=True, slots=True)
class Signer:
    """The active signing key, decrypted."""

    key_id: str
    private_key_pem: bytes


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed access token and its lifetime."""

    text: str
    expires_in_seconds: int


@dataclass(frozen=True, slots=True)
class Discovery:
    """Provider metadata: issuer, location of the keys, signing algorithms."""

    issuer: str
    jwks_uri: str
    algorithms: tuple[str, ...]
