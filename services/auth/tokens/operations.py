"""Issuing access tokens, and the life of the keys that sign them."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.auth.tokens.model import AccessToken, Discovery, PublicKey, Signer, SigningKey
from services.shared import tokens
from services.shared.errors import DomainError
from services.shared.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.tokens.store import SigningKeyStore
    from services.shared.db import Database
    from services.shared.encryption import Encryption

SIGNER_SECONDS = 60.0
"""How long the signing key is remembered. Keys are published longer than that before they sign, and kept after."""
COORDINATE_BYTES = 32


class TokenOperations:
    """Signs access tokens with the active key of the database, which all replicas share; makes the first one."""

    def __init__(
        self,
        *,
        database: Database,
        store: SigningKeyStore,
        encryption: Encryption,
        issuer: str,
        audience: str,
        lifetime_seconds: int,
    ) -> None:
        self._database = database
        self._store = store
        self._encryption = encryption
        self._issuer = issuer
        self._audience = audience
        self._lifetime_seconds = lifetime_seconds
        self._signer: Signer | None = None
        self._signer_read_at = 0.0

    async def issue(self, *, user_id: str, session_id: str, role: str, epoch: int, email_verified: bool) -> AccessToken:
        """Return a new access token (RFC 9068) for a session, begun at this epoch of its user.

        Raises DependencyUnavailable.
        """
        signer = await self._active()
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": user_id,
            "sid": session_id,
            "jti": new_id(),
            "iat": now,
            "exp": now + self._lifetime_seconds,
            "epoch": epoch,
            "email_verified": email_verified,
            "roles": [role],
        }
        return AccessToken(tokens.sign(signer.private_key_pem, signer.key_id, claims), self._lifetime_seconds)

    async def get_jwks(self) -> Sequence[PublicKey]:
        """Return the keys that may have signed a good token, and the next one."""
        async with self._database.reading() as connection:
            return await self._store.list_published_keys(connection)

    async def verification_keys(self) -> Sequence[Mapping[str, str]]:
        """Return the same keys as JSON Web Keys."""
        return [key.jwk() for key in await self.get_jwks()]

    def get_open_id_configuration(self) -> Discovery:
        """Return what OpenID Connect Discovery 1.0 calls the provider's configuration."""
        return Discovery(self._issuer, f"{self._issuer.rstrip('/')}/.well-known/jwks.json", (tokens.ALGORITHM,))

    async def ready(self) -> bool:
        """Whether there is a key to sign with. The first replica to ask makes the first one.

        Once there is one there always is, so that later nobody waits for a connection of the pool to know it.
        """
        if self._signer is not None:
            return True
        try:
            await self._active()
        except DomainError:
            return False
        return True

    async def _active(self) -> Signer:
        if self._signer is None or time.monotonic() - self._signer_read_at > SIGNER_SECONDS:
            key = await self._database.transaction(self._find_or_make)
            self._signer = Signer(key.public.id, self._encryption.decrypt(key.private_key_sealed, row_id=key.public.id))
            self._signer_read_at = time.monotonic()
        return self._signer

    async def _find_or_make(self, connection: AsyncConnection) -> SigningKey:
        key = await self._store.find_active_key(connection)
        while key is None:
            await self._store.insert_active_key(connection, self._new_key())
            key = await self._store.find_active_key(connection)
        return key

    def _new_key(self) -> SigningKey:
        private_key = ec.generate_private_key(ec.SECP256R1())
        pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        point = private_key.public_key().public_numbers()
        public = PublicKey(id=new_id(), x=_base64url(point.x), y=_base64url(point.y))
        return SigningKey(public, self._encryption.encrypt(pem, row_id=public.id))


def _base64url(coordinate: int) -> str:
    return base64.urlsafe_b64encode(coordinate.to_bytes(COORDINATE_BYTES, "big")).rstrip(b"=").decode()
