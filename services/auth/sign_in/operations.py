"""Registration, sign-in, refresh and sign-out."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from services.auth.accounts.model import EmailAddress, Role, UserState
from services.auth.errors import (
    AccountDisabled,
    CredentialsInvalid,
    EmailTaken,
    MfaChallengeInvalid,
    MfaCodeInvalid,
    PasswordChecksBusy,
    RefreshTokenInvalid,
)
from services.auth.factors.model import MAX_CHALLENGE_TRIES, IssuedChallenge
from services.auth.failures.model import Subject, SubjectKind
from services.auth.revocations.model import Cause
from services.auth.sessions.model import EpochChanged, device_of
from services.auth.sign_in.model import SignedIn
from services.shared.audit.model import Action, Outcome
from services.shared.audit.recording import record, record_failure
from services.shared.errors import TokenMissing
from services.shared.principal import count_for, current_request

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.model import Credentials, User
    from services.auth.accounts.operations import AccountOperations
    from services.auth.accounts.store import AccountStore
    from services.auth.devices.operations import DeviceOperations
    from services.auth.factors.operations import ChallengeOperations, FactorOperations
    from services.auth.failures.operations import FailureOperations
    from services.auth.links.operations import LinkOperations
    from services.auth.passwords.operations import PasswordOperations
    from services.auth.registrations.operations import RegistrationOperations
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
        failures: FailureOperations,
        devices: DeviceOperations,
        factors: FactorOperations,
        challenges: ChallengeOperations,
        links: LinkOperations,
        registrations: RegistrationOperations | None,
    ) -> None:
        """`registrations`: None where accounts are created without verifying their address first."""
        self._database = database
        self._store = store
        self._accounts = accounts
        self._passwords = passwords
        self._sessions = sessions
        self._revocations = revocations
        self._tokens = tokens
        self._failures = failures
        self._devices = devices
        self._factors = factors
        self._challenges = challenges
        self._links = links
        self._registrations = registrations

    async def register(self, *, email: str, password: str, name: str, device_name: str = "") -> SignedIn | None:
        """Create a student's account and sign it in; or keep the registration until its address was verified.

        Raises EmailInvalid, ValidationFailed, PasswordRefused, EmailTaken, PasswordChecksBusy.
        """
        new = await self._accounts.new_user(email=email, password=password, name=name, role=Role.STUDENT)
        if self._registrations is not None:
            await self._registrations.request(new=new)
            return None

        async def work(connection: AsyncConnection) -> tuple[User, IssuedSession, str]:
            user = await self._accounts.add_user(connection, new=new)
            # Its former owner, from whom someone else took the account, could not have it back.
            if await self._links.is_restorable(connection, email=new.email):
                raise EmailTaken
            return user, *await self._begin(connection, user.id, epoch=0, known_id=None, device_name=device_name)

        return await self._signed_in(*await self._database.transaction(work))

    async def login(
        self, *, principal: Principal, email: str, password: str, device_name: str = "", device_token: str = ""
    ) -> SignedIn | IssuedChallenge:
        """Sign in, or return a challenge to a user with a second factor.

        An unknown address and a wrong password take alike, answer alike and are counted alike. Failures with a valid
        device token are the device's, so that it need not wait for what others do with the address.

        Raises CredentialsInvalid, AccountDisabled, TooManyFailedAttempts, PasswordChecksBusy.
        """
        address = EmailAddress.parse(email)
        with self._passwords.place():
            async with self._database.reading() as connection:
                credentials = await self._find_credentials(connection, address)
                device = await self._devices.find(connection, device_token=device_token)
            known_id = device.id if device and credentials and device.user_id == credentials.user.id else None
            attempt = await self._failures.begin(subjects=_subjects(principal, _account(email), known_id))
            matches = await self._passwords.matches(password, credentials.password_hash if credentials else None)
        if credentials is None or not matches:
            error, target = CredentialsInvalid(), f"users/{credentials.user.id}" if credentials else ""
            await record_failure(self._database, action=Action.USER_SIGN_IN, error=error, target=target)
            raise error
        user, old_hash = credentials.user, credentials.password_hash
        if user.state is UserState.DISABLED:
            await self._failures.withdraw(attempt=attempt)
            disabled = AccountDisabled()
            await record_failure(self._database, action=Action.USER_SIGN_IN, error=disabled, target=f"users/{user.id}")
            raise disabled
        count_for(user_id=user.id)
        new_hash = await self._rehashed(password, old_hash)

        async def work(connection: AsyncConnection) -> tuple[IssuedSession, str] | IssuedChallenge:
            if new_hash is not None:
                await self._store.update_password_hash(connection, user.id, old_hash=old_hash, new_hash=new_hash)
            if (await self._factors.find_status(connection, user_id=user.id)).totp_enabled:
                await self._failures.succeed(connection, attempt=attempt, fully=False)
                return await self._challenges.issue(
                    connection,
                    user_id=user.id,
                    device_id=known_id,
                    device_name=device_name,
                    epoch=credentials.epoch,
                )
            # The account is locked before its failures, as a new password locks them.
            begun = await self._begin(
                connection, user.id, epoch=credentials.epoch, known_id=known_id, device_name=device_name
            )
            await self._failures.succeed(connection, attempt=attempt)
            return begun

        try:
            async with self._failures.settled(attempt=attempt):  # The password was right.
                outcome = await self._database.transaction(work)
        except EpochChanged:
            return await self.login(
                principal=principal, email=email, password=password, device_name=device_name, device_token=device_token
            )
        if isinstance(outcome, IssuedChallenge):
            return outcome
        return await self._signed_in(user, *outcome)

    async def verify_challenge(self, *, principal: Principal, challenge_id: str, code: str) -> SignedIn:
        """Complete a sign-in by a code of the second factor.

        Raises MfaChallengeInvalid, MfaCodeInvalid, TooManyFailedAttempts.
        """

        async def work(connection: AsyncConnection) -> tuple[User, IssuedSession, str] | MfaCodeInvalid:
            challenge = await self._challenges.find(connection, challenge_id=challenge_id)
            user = await self._store.lock_user(connection, challenge.user_id) if challenge else None
            if challenge is None or user is None:
                raise MfaChallengeInvalid
            known_id = challenge.device_id
            codes = Subject(SubjectKind.CODES, user.id)
            attempt = await self._failures.count(connection, subjects=_subjects(principal, codes, known_id))
            tries = await self._challenges.claim_try(connection, challenge_id=challenge_id)
            if tries is None:
                raise MfaChallengeInvalid
            if await self._factors.claim(connection, user_id=user.id, code=code) is None:
                error = MfaCodeInvalid(tries_left=MAX_CHALLENGE_TRIES - tries)
                await record(
                    connection,
                    action=Action.USER_SIGN_IN,
                    target=f"users/{user.id}",
                    outcome=Outcome.FAILED,
                    reason=error.reason,
                )
                return error
            await self._challenges.end(connection, challenge_id=challenge_id)
            await self._failures.succeed(connection, attempt=attempt)
            return user, *await self._begin(
                connection, user.id, epoch=challenge.epoch, known_id=known_id, device_name=challenge.device_name
            )

        count_for(token=challenge_id)
        # A wrong code stays counted: it is raised after the commit.
        try:
            outcome = await self._database.transaction(work)
        except EpochChanged:  # By a new password, for one.
            raise MfaChallengeInvalid from None
        if isinstance(outcome, MfaCodeInvalid):
            raise outcome
        return await self._signed_in(*outcome)

    async def refresh(self, *, refresh_token: str) -> SignedIn:
        """Exchange a refresh token for its successor and a new access token. Raises RefreshTokenInvalid."""

        async def work(connection: AsyncConnection) -> tuple[User, IssuedSession] | None:
            session = await self._sessions.rotate(connection, refresh_token=refresh_token)
            user = await self._store.find_user(connection, session.user_id) if session else None
            return (user, session) if user and session and user.state is UserState.ACTIVE else None

        count_for(token=refresh_token)
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
            ended = {(principal.session_id, principal.user_id)} if principal.session_id else set()
            if refresh_token:
                found = await self._sessions.find_session(connection, refresh_token=refresh_token)
                ended |= {found} if found else set()
            for session_id, user_id in sorted(ended):
                if await self._revocations.end_session(connection, session_id=session_id, cause=Cause.SIGNED_OUT):
                    target = f"sessions/{session_id}"
                    await record(connection, action=Action.SESSION_END, target=target, token_user_id=user_id)

        count_for(token=refresh_token)
        await self._database.transaction(work)

    async def _find_credentials(self, connection: AsyncConnection, address: EmailAddress | None) -> Credentials | None:
        """Return the credentials of an address; one whose account is being deleted has none."""
        credentials = await self._store.find_credentials(connection, address) if address else None
        return credentials if credentials and credentials.user.state is not UserState.DELETING else None

    async def _rehashed(self, password: str, old_hash: str) -> str | None:
        """Return a hash at today's cost if the old one has another, and there is time for it."""
        if self._passwords.is_outdated(old_hash):
            with suppress(PasswordChecksBusy):
                return await self._passwords.hash(password)
        return None

    async def _begin(
        self, connection: AsyncConnection, user_id: str, *, epoch: int, known_id: str | None, device_name: str = ""
    ) -> tuple[IssuedSession, str]:
        """Return a new session of a user who has signed in fully, and the token of a device that was not known.

        The device is named as the call does, or as its User-Agent tells.
        """
        request = current_request()
        device = device_name or device_of(request.user_agent if request else "")
        session = await self._sessions.create(connection, user_id=user_id, epoch=epoch, device=device)
        await record(connection, action=Action.USER_SIGN_IN, target=f"users/{user_id}")
        return session, await self._devices.remember(connection, user_id=user_id, known_id=known_id, name=device)

    async def _signed_in(self, user: User, session: IssuedSession, device_token: str = "") -> SignedIn:
        token = await self._tokens.issue(
            user_id=user.id,
            session_id=session.session_id,
            role=user.role,
            epoch=session.epoch,
            email_verified=user.email_verified,
        )
        return SignedIn(user, token.text, session.refresh_token, token.expires_in_seconds, device_token)


def _account(email: str) -> Subject:
    """Return the account of an address, one and the same for all spellings of it."""
    address = EmailAddress.parse(email)
    return Subject(SubjectKind.ACCOUNT, address.folded if address else email.strip().casefold())


def _subjects(principal: Principal, account: Subject, known_id: str | None) -> list[Subject]:
    """Return what an attempt is counted for: a known device alone, or the account and where the attempt comes from."""
    if known_id is not None:
        return [Subject(SubjectKind.DEVICE, known_id)]
    return [account, *([Subject(SubjectKind.ADDRESS, principal.network)] if principal.network else [])]
