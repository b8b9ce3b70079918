"""Rotation and revocation of signing keys. Each step is one transaction, so that any may be the last for a while."""

from __future__ import annotations

import base64
import logging
import time
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.auth.revocations.operations import COMMAND_SECONDS
from services.auth.signing_keys.model import KeyState, NewKey, PublicKey, Rotation, Signer
from services.shared.audit.model import Action
from services.shared.audit.recording import record
from services.shared.errors import DependencyUnavailable
from services.shared.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.revocations.operations import RevocationOperations
    from services.auth.signing_keys.model import KeyTimes, SigningKey
    from services.auth.signing_keys.store import SigningKeyStore
    from services.shared.db import Database
    from services.shared.encryption import Encryption

logger = logging.getLogger(__name__)

COORDINATE_BYTES = 32
PUBLISHED_SECONDS = 1.0
"""Maximum age of the published keys that are kept in memory, while the database answers."""


class SigningKeyOperations:
    """The signing keys of the database, which all replicas share.

    A key is published long before it signs, and for as long as what it signed may be valid: no cache of keys, however
    old within its limits, lacks the key of a valid token.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: SigningKeyStore,
        encryption: Encryption,
        revocations: RevocationOperations,
        times: KeyTimes,
        signer_cache_seconds: float,
    ) -> None:
        self._database = database
        self._store = store
        self._encryption = encryption
        self._revocations = revocations
        self._times = times
        self._signer_cache_seconds = signer_cache_seconds
        self._signer: Signer | None = None
        self._signer_read_at = 0.0
        self._published: Sequence[PublicKey] = ()
        self._published_read_at = float("-inf")

    @property
    def has_signer(self) -> bool:
        """Whether an active key is known, however old that knowledge is."""
        return self._signer is not None

    async def find_signer(self) -> Signer:
        """Return the active key, read again when the signer's cache time is over. The first call makes the first key.

        Raises DependencyUnavailable; SecretKeyChanged.
        """
        asked_at = time.monotonic()
        if self._signer is None or asked_at - self._signer_read_at > self._signer_cache_seconds:
            key = await self._find_active()
            pem = self._encryption.decrypt(key.private_key_sealed or b"", row_id=key.id)
            self._signer, self._signer_read_at = Signer(key.id, pem), asked_at
        return self._signer

    async def list_published_keys(self) -> Sequence[PublicKey]:
        """Return the keys that may have signed a good token, and the next one: the same object until they change.

        They are read again when a second is over, and kept while the database does not answer: there are no new keys
        then. Raises DependencyUnavailable before they were ever read.
        """
        asked_at = time.monotonic()
        if not self._published or asked_at - self._published_read_at > PUBLISHED_SECONDS:
            try:
                async with self._database.reading() as connection:
                    found = await self._store.list_published_keys(connection)
            except DependencyUnavailable:
                if not self._published:
                    raise
            else:
                if found != self._published:
                    self._published = found
                self._published_read_at = asked_at
        return self._published

    async def list_signing_keys(self) -> Sequence[SigningKey]:
        """Return all keys, the oldest first."""
        async with self._database.reading() as connection:
            return await self._store.list_keys(connection)

    async def rotate_signing_keys(self) -> None:
        """Do what is due: make the next key, replace an active key that has signed for long enough, retire old ones."""

        async def work(connection: AsyncConnection) -> tuple[str | None, Sequence[str]]:
            active, following = await self._locked(connection)
            due = self._times.is_due(active) and not self._times.wait_seconds(following)
            if due:
                await self._replace(connection, following)
            retired = await self._store.update_retired_keys(connection, self._times.retirement_seconds)
            return following.id if due else None, retired

        activated, retired = await self._database.transaction(work)
        await self._observe()
        if activated is not None:
            logger.info("signing key rotated", extra={"key": activated})
        for key_id in retired:
            logger.info("signing key retired", extra={"key": key_id})

    async def rotate_signing_key(self, *, replaced_key_id: str | None = None) -> Rotation:
        """Replace the active key by the next one, if that was published for longer than the longest cache.

        With `replaced_key_id`, only if that one is still active: a rotation that others completed meanwhile is enough.
        """

        async def work(connection: AsyncConnection) -> Rotation:
            active, following = await self._locked(connection)
            if replaced_key_id not in (None, active.id):
                return Rotation(active.id, following.id, 0.0)
            wait_seconds = self._times.wait_seconds(following)
            if wait_seconds:
                return Rotation(active.id, following.id, wait_seconds)
            return Rotation(following.id, await self._replace(connection, following), 0.0)

        rotation = await self._database.transaction(work)
        await self._observe()
        return rotation

    async def revoke_signing_key(self, *, key_id: str) -> Rotation | None:
        """Retire a leaked key at once and revoke its tokens. The next key takes the place of an active one.

        The rotation returned says for how long caches may lack the key that signs now: a key that was published for
        too short a time is used all the same. None if there is no such key.
        """

        async def work(connection: AsyncConnection) -> Rotation | None:
            active, following = await self._locked(connection)
            if key_id not in {key.id for key in await self._store.list_keys(connection)}:
                return None
            wait_seconds = 0.0
            active_id, next_id = active.id, following.id
            if active_id == key_id:
                wait_seconds = self._times.wait_seconds(following)
                active_id, next_id = next_id, await self._replace(connection, following)
            revoked = await self._store.update_revoked_key(connection, key_id)
            if next_id == key_id:
                next_id = await self._insert_next(connection)
            await self._revocations.end_key(connection, key_id=key_id)
            if revoked:
                await record(connection, action=Action.SIGNING_KEY_REVOKE, target=f"signingKeys/{key_id}")
            return Rotation(active_id, next_id, wait_seconds)

        rotation = await self._database.transaction(work, max_seconds=COMMAND_SECONDS)
        await self._observe()
        return rotation

    async def _find_active(self) -> SigningKey:
        async with self._database.reading() as connection:
            found = await self._store.find_active_key(connection)
        if found is not None:
            return found
        active, _ = await self._database.transaction(self._locked)
        await self._observe()
        return active

    async def _locked(self, connection: AsyncConnection) -> tuple[SigningKey, SigningKey]:
        """Return the active and the next key, made where they are missing; nobody else changes keys meanwhile."""
        await self._store.lock_keys(connection)
        keys = {key.state: key for key in await self._store.list_keys(connection)}
        if KeyState.ACTIVE not in keys:
            first_id = keys[KeyState.NEXT].id if KeyState.NEXT in keys else await self._insert_next(connection)
            await self._store.update_active_key(connection, first_id)
            await self._insert_next(connection)
        elif KeyState.NEXT not in keys:
            await self._insert_next(connection)
        keys = {key.state: key for key in await self._store.list_keys(connection)}
        return keys[KeyState.ACTIVE], keys[KeyState.NEXT]

    async def _replace(self, connection: AsyncConnection, following: SigningKey) -> str:
        """Make the next key the active one; return the id of the key that is next from now on."""
        await self._store.update_active_key(connection, following.id)
        await record(connection, action=Action.SIGNING_KEY_ROTATE, target=f"signingKeys/{following.id}")
        return await self._insert_next(connection)

    async def _insert_next(self, connection: AsyncConnection) -> str:
        key = self._new_key()
        await self._store.insert_key(connection, key)
        return key.public.id

    async def _observe(self) -> None:
        self._published_read_at = float("-inf")
        await self._database.transaction(self._store.update_observed_keys)

    def _new_key(self) -> NewKey:
        private_key = ec.generate_private_key(ec.SECP256R1())
        pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        point = private_key.public_key().public_numbers()
        public = PublicKey(id=new_id(), x=_base64url(point.x), y=_base64url(point.y))
        return NewKey(public, self._encryption.encrypt(pem, row_id=public.id))


def _base64url(coordinate: int) -> str:
    return base64.urlsafe_b64encode(coordinate.to_bytes(COORDINATE_BYTES, "big")).rstrip(b"=").decode()
