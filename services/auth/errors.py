"""What Auth answers when it refuses. Reasons stand in azora/auth/v1/error_reason.proto."""

from __future__ import annotations

from services.shared.errors import AlreadyExists, InvalidArgument, NotFound, ResourceExhausted, Unauthenticated


class EmailInvalid(InvalidArgument):
    """This is not an e-mail address that mail can be delivered to."""


class EmailTaken(AlreadyExists):
    """An account with this e-mail exists; sign in instead."""


class PasswordRefused(InvalidArgument):
    """This password is too easy to guess; choose another."""


class CredentialsInvalid(Unauthenticated):
    """E-mail and password do not belong together."""


class RefreshTokenInvalid(Unauthenticated):
    """The refresh token is not valid any more; sign in again."""


class UserNotFound(NotFound):
    """There is no such account any more."""


class PasswordChecksBusy(ResourceExhausted):
    """Too many passwords are being checked at once; wait as long as Retry-After says."""
