"""Confirmation of a change by the password of the signed-in user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.auth.confirmations.model import Confirmation
from services.auth.errors import ConfirmationInvalid, UserNotFound
from services.shared.errors import TokenInvalid

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.store import AccountStore
    from services.auth.passwords.operations import PasswordOperations
    from services.shared.db import Database
    from services.shared.principal import Principal


class ConfirmationOperations:
    """Asks a signed-in user for the password.

    First `check`, which hashes, outside of any transaction; then `finish` in the transaction of the change.
    """

    def __init__(self, *, database: Database, accounts: AccountStore, passwords: PasswordOperations) -> None:
        self._database = database
        self._accounts = accounts
        self._passwords = passwords

    async def check(self, *, principal: Principal, password: str, code: str = "") -> Confirmation:  # noqa: ARG002
        """Check the caller's password.

        Raises ConfirmationInvalid, PasswordChecksBusy; TokenInvalid for a session that has ended, UserNotFound.
        """
        async with self._database.reading() as connection:
            status = await self._accounts.find_session_status(
                connection, user_id=principal.user_id, session_id=principal.session_id
            )
            if status is None:
                raise UserNotFound
            if not status.session_open:
                raise TokenInvalid
            credentials = await self._accounts.find_credentials_of(connection, principal.user_id)
        if credentials is None:
            raise UserNotFound
        if not await self._passwords.matches(password, credentials.password_hash):
            raise ConfirmationInvalid
        return Confirmation(credentials.user, credentials.password_hash)

    async def finish(self, connection: AsyncConnection, *, confirmation: Confirmation) -> None:
        """Lock the account for the change. Raises ConfirmationInvalid if the password has changed meanwhile."""
        credentials = await self._accounts.lock_account(connection, confirmation.user.id)
        if credentials is None or credentials.password_hash != confirmation.password_hash:
            raise ConfirmationInvalid
