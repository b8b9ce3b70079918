"""Changing a password, and resetting it by mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.auth.accounts.model import EmailAddress, UserState
from services.auth.accounts.operations import deliverable
from services.auth.errors import LinkInvalid
from services.auth.failures.model import Subject, SubjectKind
from services.auth.links.model import Link, Purpose
from services.auth.mail.model import Kind
from services.auth.password_changes.model import SendPasswordReset
from services.auth.revocations.model import Cause
from services.shared.audit.model import Action
from services.shared.audit.recording import record
from services.shared.jobs import enqueue
from services.shared.principal import count_for

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.model import User
    from services.auth.accounts.operations import AccountOperations
    from services.auth.accounts.store import AccountStore
    from services.auth.confirmations.operations import ConfirmationOperations
    from services.auth.devices.operations import DeviceOperations
    from services.auth.failures.operations import FailureOperations
    from services.auth.links.operations import LinkOperations
    from services.auth.mail.operations import MailOperations
    from services.auth.passwords.operations import PasswordOperations
    from services.auth.revocations.operations import RevocationOperations
    from services.shared.db import Database
    from services.shared.principal import Principal

RESET = frozenset({Purpose.PASSWORD_RESET})


class PasswordChangeOperations:
    """New passwords. Each ends sessions, revokes links by mail and sends a notice."""

    def __init__(
        self,
        *,
        database: Database,
        store: AccountStore,
        accounts: AccountOperations,
        passwords: PasswordOperations,
        confirmations: ConfirmationOperations,
        revocations: RevocationOperations,
        devices: DeviceOperations,
        failures: FailureOperations,
        links: LinkOperations,
        mail: MailOperations,
    ) -> None:
        self._database = database
        self._store = store
        self._accounts = accounts
        self._passwords = passwords
        self._confirmations = confirmations
        self._revocations = revocations
        self._devices = devices
        self._failures = failures
        self._links = links
        self._mail = mail

    async def change_password(
        self, *, principal: Principal, current_password: str, new_password: str, code: str
    ) -> None:
        """Change the caller's password and end the caller's other sessions.

        Raises PasswordRefused; as ConfirmationOperations.confirmed.
        """

        async def work(connection: AsyncConnection) -> None:
            user = await self._confirmations.finish(connection, confirmation=confirmation)
            await self._set_password(
                connection, user, new_hash, Cause.PASSWORD_CHANGED, except_session_id=principal.session_id
            )

        confirmed = self._confirmations.confirmed(principal=principal, password=current_password, code=code)
        async with confirmed as confirmation:
            new_hash = await self._hashed(confirmation.user, new_password)
            await self._database.transaction(work)

    async def request_password_reset(self, *, email: str) -> None:
        """Mail a link, by a job, if the address has an account. The call takes the same time in either case.

        Raises EmailInvalid.
        """
        address = self._mail.seal_address(address=deliverable(email).text)

        async def work(connection: AsyncConnection) -> None:
            await enqueue(connection, SendPasswordReset(address))

        await self._database.transaction(work)

    async def send_password_reset(self, job: SendPasswordReset) -> None:
        """Mail a link that sets a new password, if the address has an account."""
        email = self._mail.open_address(address=job.address)

        async def work(connection: AsyncConnection) -> None:
            user = await self._accounts.find_recipient(connection, email=email)
            if user is not None and user.state is UserState.ACTIVE:
                link = Link(Purpose.PASSWORD_RESET, user.id, user.email)
                await self._links.send(
                    connection, link=link, kind=Kind.PASSWORD_RESET, values={"name": user.greeting_name}
                )

        await self._database.transaction(work)

    async def reset_password(self, *, token: str, new_password: str) -> None:
        """Set a new password by a link, and end all sessions of the account.

        The link proves the address. Raises LinkInvalid, PasswordRefused (the link stays valid), PasswordChecksBusy.
        """
        async with self._database.reading() as connection:
            found = await self._links.find(connection, token=token, purposes=RESET)
            credentials = await self._store.find_credentials_of(connection, found.user_id) if found else None
        if credentials is None:
            raise LinkInvalid
        user_id = credentials.user.id
        count_for(user_id=user_id)
        new_hash = await self._hashed(credentials.user, new_password)

        async def work(connection: AsyncConnection) -> None:
            account = await self._store.lock_account(connection, user_id)
            claimed = await self._links.claim(connection, token=token, purposes=RESET)
            if account is None or claimed is None or account.user.state is not UserState.ACTIVE:
                raise LinkInvalid
            if claimed[0].email != account.user.email:
                raise LinkInvalid  # It may have been mailed to the former address while that was changed.
            await self._set_password(connection, account.user, new_hash, Cause.PASSWORD_RESET)
            await self._accounts.verify_email(connection, user_id=account.user.id)

        await self._database.transaction(work)

    async def _hashed(self, user: User, new_password: str) -> str:
        self._passwords.refuse_guessable(new_password, local_part=EmailAddress(user.email).local_part, name=user.name)
        return await self._passwords.hash(new_password)

    async def _set_password(
        self,
        connection: AsyncConnection,
        user: User,
        new_hash: str,
        cause: Cause,
        *,
        except_session_id: str | None = None,
    ) -> None:
        """Set another password and end what the former one began: sessions, known devices, links, and waits."""
        await self._revocations.end_user(connection, user_id=user.id, cause=cause, except_session_id=except_session_id)
        await self._accounts.set_password(connection, user_id=user.id, new_hash=new_hash)
        await self._devices.forget_all(connection, user_id=user.id)
        account = Subject(SubjectKind.ACCOUNT, EmailAddress(user.email).folded)
        await self._failures.clear(connection, subjects=[account])
        await self._links.revoke(connection, user_id=user.id)
        await self._mail.notify(connection, kind=Kind.PASSWORD_CHANGED, user=user)
        action = Action.PASSWORD_RESET if cause is Cause.PASSWORD_RESET else Action.PASSWORD_CHANGE
        await record(connection, action=action, target=f"users/{user.id}")
