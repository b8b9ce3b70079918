"""Creation of accounts and the caller's own profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.auth.accounts.model import (
    NAME_RULE,
    EmailAddress,
    EmailVerified,
    NewUser,
    PersonName,
    Role,
    UserRegistered,
    UserRenamed,
    UserState,
)
from services.auth.errors import EmailInvalid, EmailTaken, LastAdministrator, UserNotFound
from services.shared.audit.model import Action
from services.shared.audit.recording import record
from services.shared.errors import TokenInvalid, ValidationFailed
from services.shared.ids import new_id

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.model import Credentials, ProfileChanges, User
    from services.auth.accounts.store import AccountStore
    from services.auth.passwords.operations import PasswordOperations
    from services.shared.db import Database
    from services.shared.outbox import Outbox
    from services.shared.principal import Principal

FIRST_NAME_VERSION = 1
"""Default of the column."""


class AccountOperations:
    """Account creation and profile operations."""

    def __init__(
        self,
        *,
        database: Database,
        store: AccountStore,
        passwords: PasswordOperations,
        outbox: Outbox,
    ) -> None:
        self._database = database
        self._store = store
        self._passwords = passwords
        self._outbox = outbox

    async def new_user(self, *, email: str, password: str, name: str, role: Role) -> NewUser:
        """Return a new user, for `add_user`, whose password was checked and hashed.

        Raises EmailInvalid, ValidationFailed, PasswordRefused, PasswordChecksBusy.
        """
        address = deliverable(email)
        person_name = _person_name(name)
        self._passwords.refuse_guessable(password, local_part=address.local_part, name=person_name.text)
        return await self._new_user(address, password, person_name, role)

    async def add_user(self, connection: AsyncConnection, *, new: NewUser) -> User:
        """Insert the account and tell the other services, in the caller's transaction. Raises EmailTaken."""
        user = await self._inserted(connection, new)
        if user is None:
            raise EmailTaken
        return user

    async def find_recipient(self, connection: AsyncConnection, *, email: str) -> User | None:
        """Return the user of an e-mail address, regardless of case; None without an account, or while it is deleted."""
        address = EmailAddress.parse(email)
        credentials = await self._store.find_credentials(connection, address) if address else None
        return credentials.user if credentials and credentials.user.state is not UserState.DELETING else None

    async def set_password(self, connection: AsyncConnection, *, user_id: str, new_hash: str) -> None:
        """Set another password, in the caller's transaction."""
        await self._store.update_password(connection, user_id, new_hash=new_hash)

    async def set_email(self, connection: AsyncConnection, *, user_id: str, email: str) -> None:
        """Set another address, which was verified, in the caller's transaction. Raises EmailTaken."""
        await self._store.update_email(connection, user_id, deliverable(email))
        await self._outbox.publish(connection, EmailVerified(user_id))

    async def verify_email(self, connection: AsyncConnection, *, user_id: str) -> None:
        """Mark the user's address as verified, in the caller's transaction."""
        if await self._store.update_email_verified(connection, user_id):
            await self._outbox.publish(connection, EmailVerified(user_id))

    async def keep_administrator(self, connection: AsyncConnection, *, user: User) -> None:
        """Make sure that an active administrator remains without this user. Raises LastAdministrator if none would.

        Call it in each transaction that may take an administrator's role or state, once the account is locked: for
        administrators they run one after another, so that two cannot do it to each other.
        """
        if user.role is not Role.ADMIN or user.state is not UserState.ACTIVE:
            return
        await self._store.lock_administrators(connection)
        if [*await self._store.list_administrator_ids(connection, limit=2)] == [user.id]:
            raise LastAdministrator

    async def create_administrator(self, *, email: str, password: str, name: str) -> str:
        """Create an administrator's account, for operators; return its id.

        Raises EmailInvalid, ValidationFailed, PasswordRefused, EmailTaken, PasswordChecksBusy.
        """
        new = await self.new_user(email=email, password=password, name=name, role=Role.ADMIN)

        async def work(connection: AsyncConnection) -> str:
            return (await self.add_user(connection, new=new)).id

        return await self._database.transaction(work)

    async def ensure_account(self, *, email: str, password: str, name: str, role: Role) -> str:
        """Return the id of this address's account, created if there is none: of any role, with any password.

        For the seeds of a development system. Raises EmailInvalid, ValidationFailed.
        """
        address = deliverable(email)
        existing = await self._find_credentials(address)
        if existing is not None:
            return existing.user.id
        new = await self._new_user(address, password, _person_name(name), role)

        async def work(connection: AsyncConnection) -> User | None:
            return await self._inserted(connection, new)

        user = await self._database.transaction(work)
        # None: someone else made it in between.
        return user.id if user else await self.ensure_account(email=email, password=password, name=name, role=role)

    async def get_profile(self, *, principal: Principal) -> User:
        """Return the caller's profile. Raises UserNotFound, TokenInvalid after a logout."""
        async with self._database.reading() as connection:
            return await self._user_of_open_session(connection, principal)

    async def update_profile(self, *, principal: Principal, changes: ProfileChanges) -> User:
        """Change the caller's profile and return it. Raises UserNotFound, TokenInvalid after a logout."""

        async def work(connection: AsyncConnection) -> User:
            user = await self._user_of_open_session(connection, principal)
            changed, version = await self._store.update_profile(connection, user.id, changes)
            await record(connection, action=Action.USER_UPDATE, target=f"users/{user.id}")
            if changes.name is not None:
                await self._outbox.publish(connection, UserRenamed(changed.id, changed.name, version))
            return changed

        return await self._database.transaction(work)

    async def _user_of_open_session(self, connection: AsyncConnection, principal: Principal) -> User:
        """Return the user of an access token whose session goes on; an API key's is known by its access token alone."""
        if principal.scopes is not None:
            user = await self._store.find_user(connection, principal.user_id)
            if user is None:
                raise UserNotFound
            return user
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

    async def _inserted(self, connection: AsyncConnection, new: NewUser) -> User | None:
        """Return the new user and tell the other services; None if the address is taken."""
        user = await self._store.insert_user(connection, new)
        if user is not None:
            renamed = UserRenamed(user.id, user.name, FIRST_NAME_VERSION)
            verified = [EmailVerified(user.id)] if user.email_verified else []
            await record(connection, action=Action.USER_CREATE, target=f"users/{user.id}")
            await self._outbox.publish(connection, UserRegistered(user.id), renamed, *verified)
        return user

    async def _new_user(self, email: EmailAddress, password: str, name: PersonName, role: Role) -> NewUser:
        return NewUser(new_id(), email, await self._passwords.hash(password), role, name)


def deliverable(email: str) -> EmailAddress:
    """Return the address. Raises EmailInvalid."""
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
