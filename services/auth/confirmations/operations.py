"""Confirmation of a change by the password and the second factor of the signed-in user."""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING

from services.auth.confirmations.model import Confirmation
from services.auth.errors import ConfirmationInvalid, ConfirmationRequired
from services.auth.failures.model import Subject, SubjectKind
from services.shared.audit.model import Action
from services.shared.audit.recording import record_failure
from services.shared.errors import TokenInvalid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.model import SessionCredentials, User
    from services.auth.accounts.store import AccountStore
    from services.auth.factors.operations import FactorOperations
    from services.auth.failures.operations import FailureOperations
    from services.auth.passwords.operations import PasswordOperations
    from services.auth.sessions.operations import SessionOperations
    from services.shared.db import Database
    from services.shared.principal import Principal

RECENT = timedelta(minutes=10)
"""Age of a session whose sign-in still counts as re-authentication."""


class ConfirmationOperations:
    """Asks a signed-in user for the password and, with a second factor, for a code.

    `confirmed` hashes, outside of any transaction; `finish` is for the transaction of the change, within its block.
    Failures are counted per session: who found a session open does not get to guess, and keeps nobody else out.
    """

    def __init__(
        self,
        *,
        database: Database,
        accounts: AccountStore,
        sessions: SessionOperations,
        passwords: PasswordOperations,
        failures: FailureOperations,
        factors: FactorOperations,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._sessions = sessions
        self._passwords = passwords
        self._failures = failures
        self._factors = factors

    @asynccontextmanager
    async def confirmed(self, *, principal: Principal, password: str, code: str = "") -> AsyncIterator[Confirmation]:
        """Check the caller's password for a change that is made in the block.

        Where the change is refused for another reason than the confirmation, the attempt does not count: the password
        was right. Raises ConfirmationInvalid, ConfirmationRequired, TooManyFailedAttempts, PasswordChecksBusy;
        TokenInvalid for a session that has ended.
        """
        confirmation = await self._check(principal, password, code)
        async with self._settled(confirmation):
            yield confirmation

    @asynccontextmanager
    async def confirmed_recently(self, *, principal: Principal, password: str) -> AsyncIterator[Confirmation]:
        """Check the caller's password, unless the session has just begun. Raises as `confirmed`."""
        confirmation = await (self._check(principal, password) if password else self._check_recent(principal))
        async with self._settled(confirmation):
            yield confirmation

    async def finish(self, connection: AsyncConnection, *, confirmation: Confirmation) -> User:
        """Lock the account for the change, use the code, and take back the counted attempt. Return the user.

        Raises ConfirmationInvalid for a wrong or used code, and if the password has changed meanwhile; TokenInvalid if
        the session has ended meanwhile.
        """
        user_id = confirmation.user.id
        credentials = await self._accounts.lock_account(connection, user_id)
        if credentials is None or credentials.password_hash != confirmation.password_hash:
            raise ConfirmationInvalid
        await self._sessions.require_open(connection, user_id=user_id, session_id=confirmation.session_id)
        if confirmation.code and not await self._factors.claim(connection, user_id=user_id, code=confirmation.code):
            raise ConfirmationInvalid
        if confirmation.attempt is not None:
            await self._failures.succeed(connection, attempt=confirmation.attempt)
        return credentials.user

    async def _check(self, principal: Principal, password: str, code: str = "") -> Confirmation:
        async with self._database.reading() as connection:
            credentials = await self._credentials(connection, principal)
            status = await self._factors.find_status(connection, user_id=principal.user_id)
        if status.totp_enabled and not code:
            raise ConfirmationRequired(field="code")
        with self._passwords.place():
            attempt = await self._failures.begin(subjects=[Subject(SubjectKind.SESSION, principal.session_id)])
            matches = await self._passwords.matches(password, credentials.password_hash)
        if not matches:
            error = ConfirmationInvalid()
            await self._record(principal.user_id, error)
            raise error
        used = code if status.totp_enabled else ""
        return Confirmation(credentials.user, principal.session_id, credentials.password_hash, used, attempt)

    async def _check_recent(self, principal: Principal) -> Confirmation:
        async with self._database.reading() as connection:
            credentials = await self._credentials(connection, principal)
        if credentials.session_age > RECENT:
            raise ConfirmationRequired(field="password")
        return Confirmation(credentials.user, principal.session_id, credentials.password_hash, "", None)

    @asynccontextmanager
    async def _settled(self, confirmation: Confirmation) -> AsyncIterator[None]:
        attempt, wrong = confirmation.attempt, (ConfirmationInvalid,)
        settled = self._failures.settled(attempt=attempt, failed_by=wrong) if attempt else nullcontext()
        try:
            async with settled:
                yield
        except ConfirmationInvalid as error:
            await self._record(confirmation.user.id, error)
            raise

    async def _record(self, user_id: str, error: ConfirmationInvalid) -> None:
        action, target = Action.CONFIRMATION_CHECK, f"users/{user_id}"
        await record_failure(self._database, action=action, error=error, target=target)

    async def _credentials(self, connection: AsyncConnection, principal: Principal) -> SessionCredentials:
        credentials = await self._accounts.find_session_credentials(
            connection, user_id=principal.user_id, session_id=principal.session_id
        )
        if credentials is None or not credentials.session_open:
            raise TokenInvalid
        return credentials
