"""Operations of the command line: first administrator, seeds of a development system, signing keys."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from azora.auth.v1 import auth_service_pb2

from services.auth.accounts.model import Role
from services.auth.container import Container
from services.shared.validation import validate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.auth.settings import AuthSettings
    from services.auth.signing_keys.operations import SigningKeyOperations


async def create_administrator(settings: AuthSettings, *, email: str, password: str, name: str) -> str:
    """Create an administrator's account and return its id.

    The same rules hold as for registering. Raises ValidationFailed, EmailInvalid, PasswordRefused, EmailTaken,
    DependencyUnavailable.
    """
    validate(auth_service_pb2.RegisterRequest(email=email, password=password, name=name))
    async with _assembled(settings) as container:
        return await container.accounts.create_administrator(email=email, password=password, name=name)


async def ensure_account(settings: AuthSettings, *, email: str, password: str, name: str, role: str) -> str:
    """Return the id of the account of this e-mail address, created with any password if there is none.

    `role` is named as in azora.policy.v1.Role. Raises EmailInvalid, ValidationFailed, DependencyUnavailable; ValueError
    for an unknown role.
    """
    async with _assembled(settings) as container:
        return await container.accounts.ensure_account(email=email, password=password, name=name, role=Role(role))


@asynccontextmanager
async def open_signing_keys(settings: AuthSettings) -> AsyncIterator[SigningKeyOperations]:
    """Give the operations of signing keys, over a connection of their own."""
    async with _assembled(settings) as container:
        yield container.keys


@asynccontextmanager
async def _assembled(settings: AuthSettings) -> AsyncIterator[Container]:
    container = Container(settings)
    try:
        yield container
    finally:
        await container.close()
