"""Creation, rotation and revocation of sessions. What takes a connection is part of its caller's transaction."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from services.auth.errors import SessionNotFound
from services.auth.revocations.model import Cause
from services.auth.sessions.model import EpochChanged, IssuedSession, OpenSession, Session
from services.shared.audit.model import Action
from services.shared.audit.recording import record
from services.shared.db import ID_MAX
from services.shared.errors import TokenInvalid
from services.shared.ids import new_id
from services.shared.opaque_tokens import new_token, token_digest
from services.shared.principal import current_request

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.revocations.operations import RevocationOperations
    from services.auth.sessions.model import RefreshToken
    from services.auth.sessions.store import SessionStore
    from services.shared.db import Database
    from services.shared.encryption import Encryption
    from services.shared.pagination import Page, PageTokens
    from services.shared.principal import Principal

SECRET_BYTES = 32


class SessionOperations:
    """Sessions live on refresh tokens that are good for one use (RFC 9700, section 4.14.2).

    A token's successor is computed from the session's secret, so that it can be given again to a client that lost the
    answer, while the database holds digests alone.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: SessionStore,
        pages: PageTokens,
        revocations: RevocationOperations,
        encryption: Encryption,
        idle: timedelta,
        lifetime: timedelta,
    ) -> None:
        self._database = database
        self._store = store
        self._pages = pages
        self._revocations = revocations
        self._encryption = encryption
        self._idle = idle
        self._lifetime = lifetime

    async def list_sessions(self, *, principal: Principal, page_size: int, page_token: str) -> Page[OpenSession]:
        """Return a page of the caller's sessions that have not ended, the newest first. Raises PageTokenInvalid."""
        bound_to = {"method": "ListSessions", "caller": principal.id}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        (before,) = request.cursor or (ID_MAX,)
        async with self._database.reading() as connection:
            found = await self._store.list_open_sessions(
                connection, user_id=principal.user_id, before=before, limit=request.limit, idle=self._idle
            )
        return request.page(found, lambda session: (session.id,))

    async def revoke_session(self, *, principal: Principal, session_id: str) -> None:
        """End a session of the caller's; one that has ended stays so. Raises SessionNotFound."""

        async def work(connection: AsyncConnection) -> None:
            if not await self._store.is_session_of(connection, session_id, user_id=principal.user_id):
                raise SessionNotFound
            if await self._revocations.end_session(connection, session_id=session_id, cause=Cause.SESSION_REVOKED):
                await record(connection, action=Action.SESSION_REVOKE, target=f"sessions/{session_id}")

        await self._database.transaction(work)

    async def revoke_other_sessions(self, *, principal: Principal) -> None:
        """End all sessions of the caller's but that of the access token. Raises TokenInvalid if that one has ended."""
        await self._end_sessions(principal, except_session_id=principal.session_id)

    async def revoke_all_sessions(self, *, principal: Principal) -> None:
        """End all sessions of the caller's."""
        await self._end_sessions(principal, except_session_id=None)

    async def is_open(self, connection: AsyncConnection, *, user_id: str, session_id: str) -> bool:
        """Whether the session is this user's and has not ended."""
        return await self._store.is_open(connection, session_id, user_id=user_id)

    async def require_open(self, connection: AsyncConnection, *, user_id: str, session_id: str) -> None:
        """Raise TokenInvalid if the session has ended: its access tokens are accepted for a few seconds longer.

        For changes that lock others out: nobody who was signed out may make one. The caller holds the lock of the
        user's row, as does whatever ends all sessions of the user.
        """
        if not await self.is_open(connection, user_id=user_id, session_id=session_id):
            raise TokenInvalid

    async def create(self, connection: AsyncConnection, *, user_id: str, epoch: int, device: str) -> IssuedSession:
        """Return a new session of the user, whose expired sessions are deleted.

        `device` is its name; `epoch` the user's when the password was checked. Raises EpochChanged if it is another
        now: the password may have been changed, and all sessions ended, in between.
        """
        if await self._store.lock_epoch(connection, user_id) != epoch:
            raise EpochChanged
        await self._store.delete_expired_sessions(connection, user_id)
        session_id = new_id()
        secret = self._encryption.encrypt(secrets.token_bytes(SECRET_BYTES), row_id=session_id)
        await self._store.insert_session(
            connection,
            Session(session_id, user_id, secret, epoch),
            device=device,
            address=_address(),
            lifetime=self._lifetime,
        )
        first = new_token()
        await self._insert_token(connection, session_id, first, parent_digest=None)
        return IssuedSession(session_id, user_id, epoch, first)

    async def rotate(self, connection: AsyncConnection, *, refresh_token: str) -> IssuedSession | None:
        """Replace a refresh token by its successor; None if it is not valid.

        For 30 s the parent of the newest token gets that one again. Any older token is in two hands, one of them a
        thief's perhaps: that ends the session, and the caller must commit it (OWASP ASVS 10.4.5).
        """
        digest = token_digest(refresh_token)
        session = await self._store.update_use_time(connection, digest)
        if session is not None:
            successor = self._successor(session, refresh_token)
            await self._store.update_last_use(connection, session.id, address=_address())
            await self._insert_token(connection, session.id, successor, parent_digest=digest)
            return _issued(session, successor)
        used = await self._store.find_used_token(connection, digest)
        if used is None:
            return None
        if used.repeatable:
            return _issued(used.session, self._successor(used.session, refresh_token))
        await self._revocations.end_session(connection, session_id=used.session.id, cause=Cause.REFRESH_TOKEN_REUSED)
        await record(
            connection,
            action=Action.REFRESH_TOKEN_REUSE,
            target=f"sessions/{used.session.id}",
            token_user_id=used.session.user_id,
        )
        return None

    async def find_refresh_token(self, connection: AsyncConnection, *, refresh_token: str) -> RefreshToken | None:
        """Return a refresh token without using it; None if it cannot be used."""
        return await self._store.find_refresh_token(connection, token_digest(refresh_token))

    async def find_session(self, connection: AsyncConnection, *, refresh_token: str) -> tuple[str, str] | None:
        """Return the ids of the session and the user of a refresh token, used or not; None if it is unknown."""
        return await self._store.find_session(connection, token_digest(refresh_token))

    async def _end_sessions(self, principal: Principal, *, except_session_id: str | None) -> None:
        async def work(connection: AsyncConnection) -> None:
            await self._revocations.end_user(
                connection,
                user_id=principal.user_id,
                cause=Cause.SESSIONS_REVOKED,
                except_session_id=except_session_id,
            )
            if except_session_id is not None:
                await self.require_open(connection, user_id=principal.user_id, session_id=except_session_id)
            await record(connection, action=Action.SESSION_REVOKE, target=f"users/{principal.user_id}")

        await self._database.transaction(work)

    async def _insert_token(
        self, connection: AsyncConnection, session_id: str, token: str, *, parent_digest: bytes | None
    ) -> None:
        await self._store.insert_token(
            connection, session_id=session_id, digest=token_digest(token), parent_digest=parent_digest, idle=self._idle
        )

    def _successor(self, session: Session, refresh_token: str) -> str:
        secret = self._encryption.decrypt(session.family_secret_sealed, row_id=session.id)
        successor = hmac.digest(secret, refresh_token.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(successor).rstrip(b"=").decode()


def _address() -> str:
    request = current_request()
    return request.principal.address if request else ""


def _issued(session: Session, refresh_token: str) -> IssuedSession:
    return IssuedSession(session.id, session.user_id, session.epoch, refresh_token)
