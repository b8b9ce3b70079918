"""Credential operations: signing, and what verifiers ask for."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from jwt.algorithms import RSAAlgorithm

from services.education.certificates.store import LIST_BITS
from services.education.credentials import documents
from services.education.credentials.model import CredentialKey
from services.education.errors import StatusListNotFound
from services.shared.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.certificates.model import Certificate
    from services.education.credentials.model import Issuer
    from services.education.credentials.store import CredentialStore
    from services.shared.db import Database
    from services.shared.encryption import Encryption

logger = logging.getLogger(__name__)
KEY_BITS = 2048
MAX_LISTS = 64
"""Signed status lists kept in memory, each about 30 kB at most."""
LIST_AGE = timedelta(hours=1)
"""Age at which a status list is signed anew though nothing was revoked: verifiers refuse an expired one."""


@dataclass(frozen=True, slots=True)
class _Signer:
    key: CredentialKey
    private_key: rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class _SignedList:
    version: int
    sign_time: datetime
    token: str


class CredentialOperations:
    """Signed credentials and status lists, and the keys and the issuer that verify them.

    A credential is signed whenever it is asked for. RS256, which Open Badges 3.0 requires of all verifiers, is
    deterministic: while the learner's name and the key are the same, so is the credential.
    """

    def __init__(self, *, database: Database, store: CredentialStore, encryption: Encryption, issuer: Issuer) -> None:
        self._database = database
        self._store = store
        self._encryption = encryption
        self._issuer = issuer
        self._current: _Signer | None = None
        self._one_at_a_time = asyncio.Lock()
        self._lists: OrderedDict[int, _SignedList] = OrderedDict()

    async def sign_certificate(self, *, certificate: Certificate) -> str:
        """Return the certificate's credential as a compact JWS."""
        return await self._sign(documents.credential(self._issuer, certificate, list_bits=LIST_BITS))

    async def get_jwks(self) -> Sequence[Mapping[str, str]]:
        """Return the public keys that sign credentials or ever did, oldest first, as JSON Web Keys."""
        await self._signer()
        async with self._database.reading() as connection:
            return [self._issuer.jwk(key) for key in await self._store.list_keys(connection)]

    def get_issuer(self) -> Issuer:
        """Return the issuer of all credentials."""
        return self._issuer

    async def get_status_list(self, *, number: int) -> str:
        """Return a status list as a compact JWS. It is signed anew when something is revoked, and each hour.

        Raises StatusListNotFound.
        """
        now = datetime.now(UTC)
        async with self._database.reading() as connection:
            # The version first: what is revoked between the two reads is in the list, and has it signed once more.
            version = await self._store.find_list_version(connection, number)
            known = self._lists.get(number)
            if known and known.version == version and now - known.sign_time < LIST_AGE:
                self._lists.move_to_end(number)
                return known.token
            first = number * LIST_BITS
            if first > await self._store.find_last_index(connection):
                raise StatusListNotFound  # Signing costs milliseconds: not for any number that someone thinks of.
            revoked = await self._store.list_revoked(connection, first=first, last=first + LIST_BITS - 1)
        positions = [index - first for index in revoked]
        token = await self._sign(documents.status_list(self._issuer, number, positions, now=now, list_bits=LIST_BITS))
        self._lists[number] = _SignedList(version, now, token)
        self._lists.move_to_end(number)
        if len(self._lists) > MAX_LISTS:
            self._lists.popitem(last=False)
        return token

    async def _sign(self, claims: Mapping[str, Any]) -> str:
        signer = await self._signer()
        headers = {"kid": self._issuer.key_url(signer.key.id)}
        return jwt.encode(dict(claims), signer.private_key, algorithm="RS256", headers=headers)

    async def _signer(self) -> _Signer:
        """Return the key that signs, made by whoever comes first.

        It is kept for good: verifiers may hold the key of a credential to be that of its status list, too.
        """
        if self._current is None:
            async with self._one_at_a_time:
                if self._current is None:
                    self._current = await self._database.transaction(self._find_signer) or await self._make_signer()
        return self._current

    async def _find_signer(self, connection: AsyncConnection) -> _Signer | None:
        """Return the newest key; encrypt it anew if a former secret did, so that this need not be kept for it."""
        keys = await self._store.list_keys(connection)
        if not keys:
            return None
        key = keys[-1]
        secret = self._encryption.decrypt(key.private_key_sealed, row_id=key.id)
        if not self._encryption.is_current(key.private_key_sealed):
            sealed = self._encryption.encrypt(secret, row_id=key.id)
            await self._store.update_private_key(connection, key.id, sealed)
        return _Signer(key, cast("rsa.RSAPrivateKey", load_der_private_key(secret, password=None)))

    async def _make_signer(self) -> _Signer:
        private_key = await asyncio.to_thread(rsa.generate_private_key, public_exponent=65537, key_size=KEY_BITS)
        secret = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        public = RSAAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
        key_id = new_id()
        sealed = self._encryption.encrypt(secret, row_id=key_id)
        key = CredentialKey(key_id, public["n"], public["e"], sealed, datetime.now(UTC))

        async def work(connection: AsyncConnection) -> _Signer:
            await self._store.lock_keys(connection)
            if found := await self._find_signer(connection):
                return found
            await self._store.insert_key(connection, key)
            logger.info("credential key created", extra={"key_id": key_id})
            return _Signer(key, private_key)

        return await self._database.transaction(work)
