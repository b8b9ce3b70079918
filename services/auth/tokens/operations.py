"""Issuing access tokens, and what they are verified with."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from services.auth.tokens.model import AccessToken, Discovery
from services.shared import tokens
from services.shared.errors import DomainError
from services.shared.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from services.auth.signing_keys.model import PublicKey
    from services.auth.signing_keys.operations import SigningKeyOperations


CLAIMS = (*tokens.REQUIRED_CLAIMS, "epoch", "email_verified", "scope")


class TokenOperations:
    """Signs access tokens with the active key."""

    def __init__(
        self,
        *,
        keys: SigningKeyOperations,
        public_url: str,
        audience: str,
        lifetime_seconds: int,
        scopes: Sequence[str],
    ) -> None:
        """`scopes` are those that an API key can have."""
        self._scopes = tuple(scopes)
        self._keys = keys
        self._issuer = public_url
        self._audience = audience
        self._lifetime_seconds = lifetime_seconds

    async def issue(
        self,
        *,
        user_id: str,
        session_id: str,
        role: str,
        epoch: int,
        email_verified: bool,
        scopes: Sequence[str] | None = None,
        expire_time: datetime | None = None,
    ) -> AccessToken:
        """Return a new access token (RFC 9068) for a session, begun at this epoch of its user.

        An API key is the session of its tokens, which have `scopes`, and expire with it at the latest. Raises
        DependencyUnavailable.
        """
        signer = await self._keys.find_signer()
        now = int(time.time())
        ends = now + self._lifetime_seconds
        if expire_time is not None:
            ends = min(ends, int(expire_time.timestamp()))
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": user_id,
            "sid": session_id,
            "jti": new_id(),
            "iat": now,
            "exp": ends,
            "epoch": epoch,
            "email_verified": email_verified,
            "roles": [role],
        }
        if scopes is not None:
            claims["scope"] = " ".join(scopes)
        return AccessToken(tokens.sign(signer.private_key_pem, signer.key_id, claims), ends - now)

    async def get_jwks(self) -> Sequence[PublicKey]:
        """Return the keys that may have signed a good token, and the next one."""
        return await self._keys.list_published_keys()

    async def verification_keys(self) -> Sequence[Mapping[str, str]]:
        """Return the same keys as JSON Web Keys."""
        return [key.jwk() for key in await self.get_jwks()]

    def get_open_id_configuration(self) -> Discovery:
        """Return what OpenID Connect Discovery 1.0 calls the provider's configuration."""
        return Discovery(self._issuer, (tokens.ALGORITHM,), CLAIMS, self._scopes)

    async def ready(self) -> bool:
        """Whether there is a key to sign with. The first replica to ask makes the first one.

        Once there is one there always is, so that later nobody waits for a connection of the pool to know it.
        """
        if self._keys.has_signer:
            return True
        try:
            await self._keys.find_signer()
        except DomainError:
            return False
        return True
