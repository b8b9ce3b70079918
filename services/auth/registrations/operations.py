"""Registrations that become accounts when their e-mail address was verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.auth.mail.model import Kind
from services.auth.registrations.model import PendingRegistration, SendRegistration
from services.shared.ids import new_id
from services.shared.jobs import enqueue
from services.shared.opaque_tokens import new_token, token_digest

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.model import NewUser, User
    from services.auth.accounts.operations import AccountOperations
    from services.auth.links.operations import LinkOperations
    from services.auth.mail.operations import MailOperations
    from services.auth.registrations.store import RegistrationStore
    from services.shared.db import Database


class RegistrationOperations:
    """Registrations that do not reveal whether an address has an account.

    The call writes the same rows for every address. Whether it has an account is looked up by a job, which nobody
    waits for.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: RegistrationStore,
        accounts: AccountOperations,
        links: LinkOperations,
        mail: MailOperations,
        lifetime: timedelta,
    ) -> None:
        self._database = database
        self._store = store
        self._accounts = accounts
        self._links = links
        self._mail = mail
        self._lifetime = lifetime

    async def request(self, *, new: NewUser) -> None:
        """Keep a registration, and have its link mailed."""
        registration = PendingRegistration(new_id(), new)

        async def work(connection: AsyncConnection) -> None:
            await self._store.insert_registration(connection, registration, lifetime=self._lifetime)
            await enqueue(connection, SendRegistration(registration.id))

        await self._database.transaction(work)

    async def send_registration(self, job: SendRegistration) -> None:
        """Mail the link of a registration. To an address that has an account a notice is mailed instead."""

        async def work(connection: AsyncConnection) -> None:
            registration = await self._store.lock_registration(connection, job.registration_id)
            if registration is None:
                return
            address = registration.new.email.text
            owner = await self._accounts.find_recipient(connection, email=address)
            token = new_token()
            if owner is not None:
                await self._mail.notify(connection, kind=Kind.ADDRESS_IN_USE, user=owner)
            elif await self._mail.enqueue(
                connection,
                kind=Kind.REGISTRATION,
                user_id=None,
                address=address,
                values={"link": self._links.url(token=token)},
            ):
                await self._store.update_digest(
                    connection, registration.id, digest=token_digest(token), lifetime=self._lifetime
                )
                return
            await self._store.delete_registration(connection, registration.id)

        await self._database.transaction(work)

    async def confirm(self, connection: AsyncConnection, *, token: str) -> User | None:
        """Turn the registration of this link into an account, in the caller's transaction; None if there is none.

        All other registrations of the address are void. Raises EmailTaken.
        """
        registration = await self._store.claim_registration(connection, token_digest(token))
        if registration is None:
            return None
        user = await self._accounts.add_user(connection, new=registration.new)
        await self._store.delete_registrations_of(connection, registration.new.email)
        return user
