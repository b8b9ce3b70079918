"""Errors of Auth. Each class's reason is documented in azora/auth/v1/error_reason.proto."""

from __future__ import annotations

from services.shared.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
)


class EmailInvalid(InvalidArgument):
    """Invalid e-mail address."""


class EmailTaken(AlreadyExists):
    """An account with this e-mail address already exists; sign in instead."""


class PasswordRefused(InvalidArgument):
    """The password is too easy to guess; choose another."""

    def __init__(self, *, rule: str) -> None:
        super().__init__(metadata={"rule": rule})


class CredentialsInvalid(Unauthenticated):
    """Invalid e-mail or password."""


class AccountDisabled(PermissionDenied):
    """The account is disabled; contact an administrator."""


class RefreshTokenInvalid(Unauthenticated):
    """Invalid or expired refresh token; sign in again."""


class UserNotFound(NotFound):
    """The account no longer exists."""


class SessionNotFound(NotFound):
    """The session does not exist."""


class PasswordChecksBusy(ResourceExhausted):
    """Too many concurrent sign-ins; retry after the delay in Retry-After."""


class TooManyFailedAttempts(ResourceExhausted):
    """Too many failed attempts; retry after the delay in Retry-After."""


class ApiKeyNotFound(NotFound):
    """The API key does not exist."""


class ApiKeyInvalid(Unauthenticated):
    """Invalid, expired or revoked API key."""


class TooManyApiKeys(FailedPrecondition):
    """The maximum number of API keys is reached; revoke one first."""

    def __init__(self, *, limit: int) -> None:
        super().__init__(metadata={"limit": str(limit)})


class DeviceNotFound(NotFound):
    """The device does not exist."""


class MfaChallengeInvalid(Unauthenticated):
    """Invalid or expired challenge; sign in again."""


class MfaCodeInvalid(Unauthenticated):
    """Incorrect or already used code."""

    def __init__(self, *, tries_left: int) -> None:
        super().__init__(metadata={"triesLeft": str(tries_left)})


class LinkInvalid(InvalidArgument):
    """The link is invalid, has expired or was used; request a new one."""


class EmailAlreadyVerified(FailedPrecondition):
    """The e-mail address is already verified."""


class MailLimitReached(ResourceExhausted):
    """Too many mails to this address; retry after the delay in Retry-After."""


class ConfirmationInvalid(PermissionDenied):
    """Incorrect password or code."""


class ConfirmationRequired(FailedPrecondition):
    """The change must be confirmed by the password and, with a second factor, a code."""

    def __init__(self, *, field: str) -> None:
        super().__init__(metadata={"field": field})


class TotpAlreadyEnabled(FailedPrecondition):
    """An authenticator is already enabled; disable it first."""


class TotpNotEnrolled(FailedPrecondition):
    """There is no enrolment to confirm, or it has expired; enrol again."""


class TotpNotEnabled(FailedPrecondition):
    """No authenticator is enabled."""


class TotpCodeInvalid(InvalidArgument):
    """The code does not match the enrolled secret."""
