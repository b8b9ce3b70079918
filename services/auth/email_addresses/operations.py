"""Verifying and changing the e-mail addresses of accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.auth.accounts.model import UserState
from services.auth.accounts.operations import deliverable
from services.auth.email_addresses.model import Effect, SendEmailChange
from services.auth.errors import EmailAlreadyVerified, EmailInvalid, LinkInvalid, MailLimitReached
from services.auth.links.model import Link, Purpose
from services.auth.mail.model import LIMIT_WINDOW, Kind
from services.auth.revocations.model import Cause
from services.shared.audit.model import Action
from services.shared.audit.recording import record
from services.shared.jobs import enqueue
from services.shared.principal import count_for

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.model import User
    from services.auth.accounts.operations import AccountOperations
    from services.auth.accounts.store import AccountStore
    from services.auth.confirmations.operations import ConfirmationOperations
    from services.auth.links.operations import LinkOperations
    from services.auth.mail.operations import MailOperations
    from services.auth.registrations.operations import RegistrationOperations
    from services.auth.revocations.operations import RevocationOperations
    from services.auth.sessions.operations import SessionOperations
    from services.shared.db import Database
    from services.shared.principal import Principal

PURPOSES = frozenset({Purpose.EMAIL_VERIFICATION, Purpose.EMAIL_CHANGE, Purpose.EMAIL_UNDO})
ACTIONS = {
    Effect.VERIFIED: Action.EMAIL_VERIFY,
    Effect.CHANGED: Action.EMAIL_CHANGE,
    Effect.RESTORED: Action.EMAIL_RESTORE,
}
SECONDS_AN_HOUR = 3600


class EmailAddressOperations:
    """Verification and change of e-mail addresses, by links that are mailed."""

    def __init__(
        self,
        *,
        database: Database,
        store: AccountStore,
        accounts: AccountOperations,
        registrations: RegistrationOperations,
        sessions: SessionOperations,
        confirmations: ConfirmationOperations,
        revocations: RevocationOperations,
        links: LinkOperations,
        mail: MailOperations,
        undo_lifetime: timedelta,
    ) -> None:
        self._database = database
        self._store = store
        self._accounts = accounts
        self._registrations = registrations
        self._sessions = sessions
        self._confirmations = confirmations
        self._revocations = revocations
        self._links = links
        self._mail = mail
        self._undo_lifetime = undo_lifetime

    async def request_email_verification(self, *, principal: Principal) -> None:
        """Mail a link that verifies the caller's address.

        Raises EmailAlreadyVerified, MailLimitReached, UserNotFound, TokenInvalid.
        """
        user = await self._accounts.get_profile(principal=principal)

        async def work(connection: AsyncConnection) -> bool:
            link = Link(Purpose.EMAIL_VERIFICATION, user.id, user.email)
            return await self._links.send(connection, link=link, kind=Kind.EMAIL_VERIFICATION)

        if user.email_verified:
            raise EmailAlreadyVerified
        if not await self._database.transaction(work):
            raise MailLimitReached(retry_after_seconds=LIMIT_WINDOW.total_seconds())

    async def change_email(self, *, principal: Principal, email: str, password: str, code: str) -> None:
        """Mail a link to a new address, by a job, which also looks up whether that has an account.

        Raises EmailInvalid; as ConfirmationOperations.confirmed.
        """
        new = deliverable(email)
        address = self._mail.seal_address(address=new.text)

        async def work(connection: AsyncConnection) -> None:
            await self._confirmations.finish(connection, confirmation=confirmation)
            await enqueue(connection, SendEmailChange(principal.user_id, principal.session_id, address))

        async with self._confirmations.confirmed(principal=principal, password=password, code=code) as confirmation:
            if new.folded == confirmation.user.email.casefold():
                raise EmailInvalid.field("email", "must differ from the current address")
            await self._database.transaction(work)

    async def send_email_change(self, job: SendEmailChange) -> None:
        """Mail the link that confirms a new address. To one that has an account a notice is mailed instead."""
        email = self._mail.open_address(address=job.address)

        async def work(connection: AsyncConnection) -> None:
            # Whoever ends the session revokes its links: before the session is looked at, or after the commit.
            await self._store.lock_user(connection, job.user_id)
            if not await self._sessions.is_open(connection, user_id=job.user_id, session_id=job.session_id):
                return  # Ended meanwhile, and with it what it began.
            owner = await self._accounts.find_recipient(connection, email=email)
            if owner is not None:
                await self._mail.notify(connection, kind=Kind.ADDRESS_IN_USE, user=owner)
            else:
                link = Link(Purpose.EMAIL_CHANGE, job.user_id, email, job.session_id)
                await self._links.send(connection, link=link, kind=Kind.EMAIL_CHANGE)

        await self._database.transaction(work)

    async def verify_email(self, *, token: str) -> Effect:
        """Do what a link is for.

        Raises LinkInvalid, EmailTaken; MailLimitReached where a change could not be undone: the link stays valid.
        """

        async def work(connection: AsyncConnection) -> Effect:
            link = await self._links.find(connection, token=token, purposes=PURPOSES)
            if link is not None:
                effect = await self._use(connection, link, token)
                await record(connection, action=ACTIONS[effect], target=f"users/{link.user_id}")
                return effect
            if await self._registrations.confirm(connection, token=token) is None:
                raise LinkInvalid
            return Effect.REGISTERED

        count_for(token=token)
        return await self._database.transaction(work)

    async def _use(self, connection: AsyncConnection, link: Link, token: str) -> Effect:
        # The account before its link, as in every transaction that revokes links.
        account = await self._store.lock_account(connection, link.user_id)
        claimed = await self._links.claim(connection, token=token, purposes=PURPOSES)
        if account is None or claimed is None or account.user.state is UserState.DELETING:
            raise LinkInvalid
        # A change ends with the session that asked for it: so does what a thief began in it.
        if link.purpose is Purpose.EMAIL_CHANGE and not await self._sessions.is_open(
            connection, user_id=link.user_id, session_id=link.session_id or ""
        ):
            raise LinkInvalid
        if link.purpose is Purpose.EMAIL_VERIFICATION:
            if link.email != account.user.email:
                raise LinkInvalid
            await self._accounts.verify_email(connection, user_id=link.user_id)
            return Effect.VERIFIED
        await self._revocations.end_user(
            connection, user_id=link.user_id, cause=Cause.EMAIL_CHANGED, except_session_id=link.session_id
        )
        await self._accounts.set_email(connection, user_id=link.user_id, email=link.email)
        if link.purpose is Purpose.EMAIL_UNDO:
            _, create_time = claimed
            await self._links.revoke(connection, user_id=link.user_id, since=create_time)
            return Effect.RESTORED
        await self._links.revoke(connection, user_id=link.user_id)
        if not await self._offer_undo(connection, account.user, link.email):
            raise MailLimitReached(retry_after_seconds=LIMIT_WINDOW.total_seconds())
        return Effect.CHANGED

    async def _offer_undo(self, connection: AsyncConnection, before: User, new_email: str) -> bool:
        """Mail the former address a link that restores it; False beyond the limit of mails."""
        return await self._links.send(
            connection,
            link=Link(Purpose.EMAIL_UNDO, before.id, before.email),
            kind=Kind.EMAIL_CHANGED,
            values={
                "name": before.greeting_name,
                "new_address": new_email,
                "hours": str(int(self._undo_lifetime.total_seconds() // SECONDS_AN_HOUR)),
            },
        )
