"""Errors of Auth. Each class's reason is documented in azora/auth/v1/error_reason.proto."""

from __future__ import annotations

from services.shared.errors import AlreadyExists, InvalidArgument, NotFound, ResourceExhausted, Unauthenticated


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


class RefreshTokenInvalid(Unauthenticated):
    """Invalid or expired refresh token; sign in again."""


class UserNotFound(NotFound):
    """The account no longer exists."""


class SessionNotFound(NotFound):
    """The session does not exist."""


class PasswordChecksBusy(ResourceExhausted):
    """Too many concurrent sign-ins; retry after the delay in Retry-After."""
