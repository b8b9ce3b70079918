"""Registration, sign-in, refresh and sign-out."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from services.auth.accounts.model import EmailAddress, Role
from services.auth.errors import CredentialsInvalid, PasswordChecksBusy, RefreshTokenInvalid
from services.auth.revocations.model import Cause
from services.auth.sessions.model import EpochChanged
from services.auth.sign_in.model import SignedIn
from services.shared.errors import TokenMissing

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.model import Credentials, User
    from services.auth.accounts.operations import AccountOperations
    from services.auth.accounts.store import AccountStore
    from services.auth.passwords.operations import PasswordOperations
    from services.auth.revocations.operations import RevocationOperations
    from services.auth.sessions.model import IssuedSession
    from services.auth.sessions.operations import SessionOperations
    from services.auth.tokens.operations import TokenOperations
    from services.shared.db import Database
    from services.shared.principal import Principal


class SignInOperations:
    """Sessions from passwords and refresh tokens, and their end."""

    def __init__(
        self,
        *,
        database: Database,
        store: AccountStore,
        accounts: AccountOperations,
        passwords: PasswordOperations,
        sessions: SessionOperations,
        revocations: RevocationOperations,
        tokens: TokenOperations,
    ) -> None:
        self._database = database
        self._store = store
        self._accounts = accounts
        self._passwords = passwords
        self._sessions = sessions
        self._revocations = revocations
        self._tokens = tokens

    async def register(self, *, email: str, password: str, name: str, device_name: str = "") -> SignedIn:
        """Create a student's account and sign it in.

        Raises EmailInvalid, ValidationFailed, PasswordRefused, EmailTaken, PasswordChecksBusy.
        """
        new = await self._accounts.new_user(email=email, password=password, name=name, role=Role.STUDENT)

        async def work(connection: AsyncConnection) -> tuple[User, IssuedSession]:
            user = await self._accounts.add_user(connection, new=new)
            return user, await self._sessions.create(connection, user_id=user.id, epoch=0, device_name=device_name)

        return await self._signed_in(*await self._database.transaction(work))

    async def login(self, *, email: str, password: str, device_name: str = "") -> SignedIn:
        """Sign in. An unknown address and a wrong password take alike and answer alike.

        Raises CredentialsInvalid, PasswordChecksBusy.
        """
        address = EmailAddress.parse(email)
        with self._passwords.place():
            credentials = await self._find_credentials(address) if address else None
            matches = await self._passwords.matches(password, credentials.password_hash if credentials else None)
        if credentials is None or not matches:
            raise CredentialsInvalid
        user_id, old_hash = credentials.user.id, credentials.password_hash
        new_hash = await self._rehashed(password, old_hash)

        async def work(connection: AsyncConnection) -> IssuedSession:
            if new_hash is not None:
                await self._store.update_password_hash(connection, user_id, old_hash=old_hash, new_hash=new_hash)
            return await self._sessions.create(
                connection, user_id=user_id, epoch=credentials.epoch, device_name=device_name
            )

        try:
            session = await self._database.transaction(work)
        except EpochChanged:
            return await self.login(email=email, password=password, device_name=device_name)
        return await self._signed_in(credentials.user, session)

    async def refresh(self, *, refresh_token: str) -> SignedIn:
        """Exchange a refresh token for its successor and a new access token. Raises RefreshTokenInvalid."""

        async def work(connection: AsyncConnection) -> tuple[User, IssuedSession] | None:
            session = await self._sessions.rotate(connection, refresh_token=refresh_token)
            user = await self._store.find_user(connection, session.user_id) if session else None
            return (user, session) if user and session else None

        # A refusal may have ended the session: it is raised after the commit, so that this stays.
        outcome = await self._database.transaction(work)
        if outcome is None:
            raise RefreshTokenInvalid
        return await self._signed_in(*outcome)

    async def logout(self, *, principal: Principal, refresh_token: str) -> None:
        """End the session of the caller's access token and that of the refresh token; one that has ended stays so.

        A token that has expired, was revoked or is unknown has no session to end, and is no error (RFC 7009, section
        2.2). Raises TokenMissing without any.
        """
        if not (principal.session_id or principal.lapsed or refresh_token):
            raise TokenMissing

        async def work(connection: AsyncConnection) -> None:
            ended = {principal.session_id} if principal.session_id else set()
            if refresh_token:
                found = await self._sessions.find_session_id(connection, refresh_token=refresh_token)
                ended |= {found} if found else set()
            for session_id in sorted(ended):
                await self._revocations.end_session(connection, session_id=session_id, cause=Cause.SIGNED_OUT)

        await self._database.transaction(work)

    async def _find_credentials(self, email: EmailAddress) -> Credentials | None:
        async with self._database.reading() as connection:
            return await self._store.find_credentials(connection, email)

    async def _rehashed(self, password: str, old_hash: str) -> str | None:
        """Return a hash at today's cost if the old one has another, and there is time for it."""
        if self._passwords.is_outdated(old_hash):
            with suppress(PasswordChecksBusy):
                return await self._passwords.hash(password)
        return None

    async def _signed_in(self, user: User, session: IssuedSession) -> SignedIn:
        token = await self._tokens.issue(
            user_id=user.id, session_id=session.session_id, role=user.role, epoch=session.epoch
        )
        return SignedIn(user, token.text, session.refresh_token, token.expires_in_seconds)
