"""Keys of credentials, their issuer, and the lists of revoked ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class CredentialKey:
    """A key of credentials. The newest one signs, and all stay published."""

    id: str
    n: str
    """Modulus, base64url."""
    e: str
    """Exponent, base64url."""
    private_key_sealed: bytes
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Issuer:
    """The issuer of all credentials."""

    base_url: str
    """Base URL of the public API."""
    name: str

    @property
    def id(self) -> str:
        """URL of its profile."""
        return f"{self.base_url}/v1/credentials/issuer"

    def key_url(self, key_id: str) -> str:
        """Return the URL of a key: the JSON Web Key Set, with the key as fragment."""
        return f"{self.base_url}/v1/credentials/jwks#{key_id}"

    def certificate_url(self, certificate_id: str) -> str:
        """Return the URL where anyone verifies a certificate."""
        return f"{self.base_url}/v1/certificates/{certificate_id}:verify"

    def status_list_url(self, number: int) -> str:
        """Return the URL of a status list."""
        return f"{self.base_url}/v1/credentials/status" + (f"?number={number}" if number else "")

    def jwk(self, key: CredentialKey) -> Mapping[str, str]:
        """Return a key as a JSON Web Key (RFC 7518, section 6.3.1)."""
        return {
            "kty": "RSA",
            "n": key.n,
            "e": key.e,
            "kid": self.key_url(key.id),
            "alg": "RS256",
            "use": "sig",
        }
