"""Enrolling and disabling second factors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.auth.errors import TotpAlreadyEnabled, TotpCodeInvalid, TotpNotEnabled, TotpNotEnrolled
from services.auth.failures.model import Subject, SubjectKind
from services.auth.mail.model import Kind
from services.auth.mfa.model import Enrollment
from services.auth.revocations.model import Cause
from services.shared.audit.model import Action
from services.shared.audit.recording import record

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.store import AccountStore
    from services.auth.confirmations.operations import ConfirmationOperations
    from services.auth.factors.model import FactorStatus
    from services.auth.factors.operations import FactorOperations
    from services.auth.failures.operations import FailureOperations
    from services.auth.mail.operations import MailOperations
    from services.auth.revocations.operations import RevocationOperations
    from services.auth.sessions.operations import SessionOperations
    from services.shared.db import Database
    from services.shared.principal import Principal

ISSUER = "Azora"
"""Name of the account's provider in an authenticator."""


class MfaOperations:
    """A user's own second factors."""

    def __init__(
        self,
        *,
        database: Database,
        accounts: AccountStore,
        sessions: SessionOperations,
        factors: FactorOperations,
        confirmations: ConfirmationOperations,
        failures: FailureOperations,
        revocations: RevocationOperations,
        mail: MailOperations,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._sessions = sessions
        self._factors = factors
        self._confirmations = confirmations
        self._failures = failures
        self._revocations = revocations
        self._mail = mail

    async def get_mfa(self, *, principal: Principal) -> FactorStatus:
        """Return which factors the caller has."""
        async with self._database.reading() as connection:
            return await self._factors.find_status(connection, user_id=principal.user_id)

    async def enroll_totp(self, *, principal: Principal, password: str) -> Enrollment:
        """Return a new secret, in place of one that was not confirmed.

        Raises TotpAlreadyEnabled; as ConfirmationOperations.confirmed_recently.
        """
        if (await self.get_mfa(principal=principal)).totp_enabled:
            raise TotpAlreadyEnabled

        async def work(connection: AsyncConnection) -> bytes | None:
            await self._confirmations.finish(connection, confirmation=confirmation)
            return await self._factors.enroll(connection, user_id=principal.user_id)

        async with self._confirmations.confirmed_recently(principal=principal, password=password) as confirmation:
            secret = await self._database.transaction(work)
            if secret is None:
                raise TotpAlreadyEnabled
        uri = self._factors.provisioning_uri(secret=secret, account_name=confirmation.user.email, issuer=ISSUER)
        return Enrollment(secret, uri)

    async def confirm_totp(self, *, principal: Principal, code: str) -> list[str]:
        """Enable the enrolled secret by its first code, end the caller's other sessions, and return recovery codes.

        Raises TotpNotEnrolled, TotpCodeInvalid, TooManyFailedAttempts; TokenInvalid for a session that has ended.
        """
        async with self._database.reading() as connection:
            enrollment = await self._factors.find_enrollment(connection, user_id=principal.user_id)
        if enrollment is None:
            raise TotpNotEnrolled
        attempt = await self._failures.begin(subjects=[Subject(SubjectKind.SESSION, principal.session_id)])

        async def work(connection: AsyncConnection) -> list[str]:
            await self._end_other_sessions(connection, principal)
            await self._sessions.require_open(connection, user_id=principal.user_id, session_id=principal.session_id)
            await self._failures.undo(connection, attempt=attempt)
            recovery_codes = await self._factors.confirm(connection, enrollment=enrollment, code=code)
            if recovery_codes is None:
                raise TotpCodeInvalid.field("code", "must be a current code of the enrolled secret")
            await self._notify(connection, principal, Kind.MFA_ENABLED)
            await record(connection, action=Action.MFA_ENABLE, target=f"users/{principal.user_id}")
            return recovery_codes

        async with self._failures.settled(attempt=attempt, failed_by=(TotpCodeInvalid,)):
            return await self._database.transaction(work)

    async def disable_totp(self, *, principal: Principal, password: str, code: str) -> None:
        """Delete the caller's secret and recovery codes, and end the caller's other sessions.

        Raises TotpNotEnabled; as ConfirmationOperations.confirmed.
        """
        await self._refuse_without_totp(principal)

        async def work(connection: AsyncConnection) -> None:
            await self._end_other_sessions(connection, principal)
            await self._confirmations.finish(connection, confirmation=confirmation)
            if not await self._factors.disable(connection, user_id=principal.user_id):
                raise TotpNotEnabled
            await self._notify(connection, principal, Kind.MFA_DISABLED)
            await record(connection, action=Action.MFA_DISABLE, target=f"users/{principal.user_id}")

        async with self._confirmations.confirmed(principal=principal, password=password, code=code) as confirmation:
            await self._database.transaction(work)

    async def regenerate_recovery_codes(self, *, principal: Principal, password: str, code: str) -> list[str]:
        """Replace the caller's recovery codes, end the caller's other sessions, and return the new codes.

        Raises TotpNotEnabled; as ConfirmationOperations.confirmed.
        """
        await self._refuse_without_totp(principal)

        async def work(connection: AsyncConnection) -> list[str]:
            await self._end_other_sessions(connection, principal)
            await self._confirmations.finish(connection, confirmation=confirmation)
            recovery_codes = await self._factors.replace_recovery_codes(connection, user_id=principal.user_id)
            await self._notify(connection, principal, Kind.RECOVERY_CODES_REPLACED)
            await record(connection, action=Action.RECOVERY_CODES_REPLACE, target=f"users/{principal.user_id}")
            return recovery_codes

        async with self._confirmations.confirmed(principal=principal, password=password, code=code) as confirmation:
            return await self._database.transaction(work)

    async def _end_other_sessions(self, connection: AsyncConnection, principal: Principal) -> None:
        """End all that rests on the former factors. It locks the user: first of all, as signing in does."""
        await self._revocations.end_user(
            connection, user_id=principal.user_id, cause=Cause.MFA_CHANGED, except_session_id=principal.session_id
        )

    async def _notify(self, connection: AsyncConnection, principal: Principal, kind: Kind) -> None:
        user = await self._accounts.find_user(connection, principal.user_id)
        if user is not None:
            await self._mail.notify(connection, kind=kind, user=user)

    async def _refuse_without_totp(self, principal: Principal) -> None:
        if not (await self.get_mfa(principal=principal)).totp_enabled:
            raise TotpNotEnabled
