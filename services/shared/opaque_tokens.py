"""Opaque tokens: random bearer secrets. The database holds their digests only."""

from __future__ import annotations

import hashlib
import secrets

TOKEN_BYTES = 32


def new_token() -> str:
    """Return a random token of 256 bits, in base64url without padding: 43 characters."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_digest(token: str) -> bytes:
    """Return a token's SHA-256 digest. Its 256 random bits need neither a salt nor a slow hash."""
    return hashlib.sha256(token.encode()).digest()
