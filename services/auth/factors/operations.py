"""Checking codes of second factors, and challenges. Every operation is part of its caller's transaction."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor import InvalidToken
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from services.auth.factors.model import (
    TOTP_DIGITS,
    TOTP_DRIFT_STEPS,
    TOTP_SECRET_BYTES,
    TOTP_STEP_SECONDS,
    Challenge,
    Factor,
    IssuedChallenge,
    is_totp_code,
    new_recovery_codes,
    plain_code,
)
from services.shared.opaque_tokens import new_token, token_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.factors.model import FactorStatus, Totp
    from services.auth.factors.store import ChallengeStore, FactorStore
    from services.shared.encryption import Encryption


class FactorOperations:
    """A user's authenticator and recovery codes. Every code is good for one use."""

    def __init__(
        self,
        *,
        store: FactorStore,
        encryption: Encryption,
        recovery_keys: Sequence[bytes],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Digest recovery codes with the first key; those digested with any other are good, too."""
        self._store = store
        self._encryption = encryption
        self._recovery_keys = tuple(recovery_keys)
        self._clock = clock

    async def find_status(self, connection: AsyncConnection, *, user_id: str) -> FactorStatus:
        """Return which factors the user has."""
        return await self._store.find_status(connection, user_id)

    async def enroll(self, connection: AsyncConnection, *, user_id: str) -> bytes | None:
        """Return a new secret, to be confirmed by a code; None if there is a confirmed one."""
        secret = secrets.token_bytes(TOTP_SECRET_BYTES)
        sealed = self._encryption.encrypt(secret, row_id=user_id)
        return secret if await self._store.insert_totp(connection, user_id, secret_sealed=sealed) else None

    async def find_enrollment(self, connection: AsyncConnection, *, user_id: str) -> Totp | None:
        """Return the user's secret that waits for its confirmation."""
        totp = await self._store.find_totp(connection, user_id)
        return totp if totp and not totp.confirmed and not totp.expired else None

    async def confirm(self, connection: AsyncConnection, *, enrollment: Totp, code: str) -> list[str] | None:
        """Confirm a secret by its first code, which is used then; return recovery codes, or None for a wrong code."""
        step = self._step(enrollment, plain_code(code))
        if step is None or not await self._store.update_confirmed(connection, enrollment, step=step):
            return None
        return await self.replace_recovery_codes(connection, user_id=enrollment.user_id)

    async def disable(self, connection: AsyncConnection, *, user_id: str) -> bool:
        """Delete the secret and the recovery codes; False if there is no confirmed secret."""
        return await self._store.delete_factors(connection, user_id)

    async def replace_recovery_codes(self, connection: AsyncConnection, *, user_id: str) -> list[str]:
        """Return new recovery codes in place of all former ones."""
        codes = new_recovery_codes()
        digests = [_keyed(self._recovery_keys[0], user_id, plain_code(code)) for code in codes]
        await self._store.insert_recovery_codes(connection, user_id, digests=digests)
        return codes

    async def claim(self, connection: AsyncConnection, *, user_id: str, code: str) -> Factor | None:
        """Use a code and return what it came from; None for one that is wrong, or was used before."""
        plain = plain_code(code)
        if not is_totp_code(plain):
            digests = [_keyed(key, user_id, plain) for key in self._recovery_keys]
            claimed = await self._store.claim_recovery_code(connection, user_id, digests=digests)
            return Factor.RECOVERY_CODE if claimed else None
        totp = await self._store.find_totp(connection, user_id)
        step = self._step(totp, plain) if totp and totp.confirmed else None
        if totp is None or step is None:
            return None
        return Factor.TOTP if await self._store.claim_step(connection, totp, step=step) else None

    def provisioning_uri(self, *, secret: bytes, account_name: str, issuer: str) -> str:
        """Return the URI that authenticators read from a QR code."""
        return _totp(secret).get_provisioning_uri(account_name, issuer)

    def _step(self, totp: Totp, code: str) -> int | None:
        """Return the time step whose code this is, among those close enough to now."""
        if not is_totp_code(code):
            return None
        generator = _totp(self._encryption.decrypt(totp.secret_sealed, row_id=totp.user_id))
        now = int(self._clock()) // TOTP_STEP_SECONDS
        for step in range(now - TOTP_DRIFT_STEPS, now + TOTP_DRIFT_STEPS + 1):
            try:
                generator.verify(code.encode(), step * TOTP_STEP_SECONDS)
            except InvalidToken:
                continue
            return step
        return None


class ChallengeOperations:
    """Challenges: who knows the password has five minutes and five tries for a code."""

    def __init__(self, *, store: ChallengeStore) -> None:
        self._store = store

    async def issue(
        self, connection: AsyncConnection, *, user_id: str, device_id: str | None, device_name: str, epoch: int
    ) -> IssuedChallenge:
        """Return a challenge for the user whose password was right while this was the user's epoch."""
        challenge_id = new_token()
        challenge = Challenge(user_id, device_id, device_name, epoch)
        return IssuedChallenge(
            challenge_id, await self._store.insert_challenge(connection, token_digest(challenge_id), challenge)
        )

    async def find(self, connection: AsyncConnection, *, challenge_id: str) -> Challenge | None:
        """Return an open challenge."""
        return await self._store.find_challenge(connection, token_digest(challenge_id))

    async def claim_try(self, connection: AsyncConnection, *, challenge_id: str) -> int | None:
        """Use one of a challenge's tries; return how many were used, None if it is not open any more."""
        return await self._store.claim_try(connection, token_digest(challenge_id))

    async def end(self, connection: AsyncConnection, *, challenge_id: str) -> None:
        """End a challenge that was met."""
        await self._store.delete_challenge(connection, token_digest(challenge_id))


def _totp(secret: bytes) -> TOTP:
    # SHA-1 is what every authenticator knows, and HMAC's strength does not rest on its collisions.
    return TOTP(secret, TOTP_DIGITS, SHA1(), TOTP_STEP_SECONDS)  # noqa: S303


def _keyed(key: bytes, user_id: str, code: str) -> bytes:
    return hmac.digest(key, f"{user_id}:{code}".encode(), hashlib.sha256)
