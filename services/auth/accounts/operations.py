"""Registration, authentication and the caller's own profile."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from services.auth.accounts.model import NAME_RULE, EmailAddress, NewUser, PersonName, Role, SignedIn, UserRegistered
from services.auth.errors import (
    CredentialsInvalid,
    EmailInvalid,
    EmailTaken,
    PasswordChecksBusy,
    RefreshTokenInvalid,
    UserNotFound,
)
from services.shared.errors import TokenInvalid, ValidationFailed
from services.shared.ids import new_id

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.model import Credentials, ProfileChanges, User
    from services.auth.accounts.store import AccountStore
    from services.auth.passwords.operations import PasswordOperations
    from services.auth.sessions.model import IssuedSession
    from services.auth.sessions.operations import SessionOperations
    from services.auth.tokens.operations import TokenOperations
    from services.shared.db import Database
    from services.shared.outbox import Outbox
    from services.shared.principal import Principal


class AccountOperations:
    """What people do with their accounts."""

    def __init__(
        self,
        *,
        database: Database,
        store: AccountStore,
        passwords: PasswordOperations,
        sessions: SessionOperations,
        tokens: TokenOperations,
        outbox: Outbox,
    ) -> None:
        self._database = database
        self._store = store
        self._passwords = passwords
        self._sessions = sessions
        self._tokens = tokens
        self._outbox = outbox

    async def register(self, *, email: str, password: str, name: str) -> SignedIn:
        """Create a student's account and sign it in.

        Raises EmailInvalid, ValidationFailed, PasswordRefused, EmailTaken, PasswordChecksBusy.
        """
        new = await self._chosen_user(email, password, name, Role.STUDENT)

        async def work(connection: AsyncConnection) -> tuple[User, IssuedSession]:
            user = await self._added(connection, new)
            return user, await self._sessions.create(connection, user_id=user.id)

        return await self._signed_in(*await self._database.transaction(work))

    async def create_administrator(self, *, email: str, password: str, name: str) -> str:
        """Create an administrator's account, for operators; return its id.

        Raises EmailInvalid, ValidationFailed, PasswordRefused, EmailTaken, PasswordChecksBusy.
        """
        new = await self._chosen_user(email, password, name, Role.ADMIN)

        async def work(connection: AsyncConnection) -> str:
            return (await self._added(connection, new)).id

        return await self._database.transaction(work)

    async def ensure_account(self, *, email: str, password: str, name: str, role: Role) -> str:
        """Return the id of this address's account, created if there is none: of any role, with any password.

        For the seeds of a development system. Raises EmailInvalid, ValidationFailed.
        """
        address = _deliverable(email)
        existing = await self._find_credentials(address)
        if existing is not None:
            return existing.user.id
        new = await self._new_user(address, password, _person_name(name), role)

        async def work(connection: AsyncConnection) -> User | None:
            return await self._inserted(connection, new)

        user = await self._database.transaction(work)
        # None: someone else made it in between.
        return user.id if user else await self.ensure_account(email=email, password=password, name=name, role=role)

    async def login(self, *, email: str, password: str) -> SignedIn:
        """Sign in. An unknown address and a wrong password take alike and answer alike.

        Raises CredentialsInvalid, PasswordChecksBusy.
        """
        address = EmailAddress.parse(email)
        credentials = await self._find_credentials(address) if address else None
        matches = await self._passwords.matches(password, credentials.password_hash if credentials else None)
        if credentials is None or not matches:
            raise CredentialsInvalid
        user_id, old_hash = credentials.user.id, credentials.password_hash
        new_hash = await self._rehashed(password, old_hash)

        async def work(connection: AsyncConnection) -> IssuedSession:
            if new_hash is not None:
                await self._store.update_password_hash(connection, user_id, old_hash=old_hash, new_hash=new_hash)
            return await self._sessions.create(connection, user_id=user_id)

        return await self._signed_in(credentials.user, await self._database.transaction(work))

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

    async def logout(self, *, principal: Principal) -> None:
        """End the session of the caller's access token; one that has ended stays so."""

        async def work(connection: AsyncConnection) -> None:
            await self._sessions.revoke(connection, session_id=principal.session_id)

        await self._database.transaction(work)

    async def get_profile(self, *, principal: Principal) -> User:
        """Return the caller's profile. Raises UserNotFound, TokenInvalid after a logout."""
        async with self._database.reading() as connection:
            return await self._user_of_open_session(connection, principal)

    async def update_profile(self, *, principal: Principal, changes: ProfileChanges) -> User:
        """Change the caller's profile and return it. Raises UserNotFound, TokenInvalid after a logout."""

        async def work(connection: AsyncConnection) -> User:
            user = await self._user_of_open_session(connection, principal)
            return await self._store.update_profile(connection, user.id, changes)

        return await self._database.transaction(work)

    async def _user_of_open_session(self, connection: AsyncConnection, principal: Principal) -> User:
        """Return the user of an access token whose session goes on."""
        status = await self._store.find_session_status(
            connection, user_id=principal.user_id, session_id=principal.session_id
        )
        if status is None:
            raise UserNotFound
        if not status.session_open:
            raise TokenInvalid
        return status.user

    async def _find_credentials(self, email: EmailAddress) -> Credentials | None:
        async with self._database.reading() as connection:
            return await self._store.find_credentials(connection, email)

    async def _added(self, connection: AsyncConnection, new: NewUser) -> User:
        user = await self._inserted(connection, new)
        if user is None:
            raise EmailTaken
        return user

    async def _inserted(self, connection: AsyncConnection, new: NewUser) -> User | None:
        """Return the new user and tell the other services; None if the address is taken."""
        user = await self._store.insert_user(connection, new)
        if user is not None:
            await self._outbox.publish(connection, UserRegistered(user.id))
        return user

    async def _chosen_user(self, email: str, password: str, name: str, role: Role) -> NewUser:
        """Return a new user whose password keeps the rules."""
        address = _deliverable(email)
        person_name = _person_name(name)
        self._passwords.refuse_guessable(password, local_part=address.local_part, name=person_name.text)
        return await self._new_user(address, password, person_name, role)

    async def _new_user(self, email: EmailAddress, password: str, name: PersonName, role: Role) -> NewUser:
        return NewUser(new_id(), email, await self._passwords.hash(password), role, name)

    async def _rehashed(self, password: str, old_hash: str) -> str | None:
        """Return a hash at today's cost if the old one has another, and there is time for it."""
        if self._passwords.is_outdated(old_hash):
            with suppress(PasswordChecksBusy):
                return await self._passwords.hash(password)
        return None

    async def _signed_in(self, user: User, session: IssuedSession) -> SignedIn:
        token = await self._tokens.issue(user_id=user.id, session_id=session.session_id, role=user.role)
        return SignedIn(user, token.text, session.refresh_token, token.expires_in_seconds)


def _deliverable(email: str) -> EmailAddress:
    address = EmailAddress.parse(email)
    if address is None:
        raise EmailInvalid.field(
            "email", "must be an e-mail address with a public domain, for example name@example.com"
        )
    return address


def _person_name(text: str) -> PersonName:
    name = PersonName.parse(text)
    if name is None:
        raise ValidationFailed.field("name", NAME_RULE)
    return name
