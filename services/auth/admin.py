"""Making accounts without registering: the first administrator, and a development system's examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.auth.__main__ import assemble
from services.auth.accounts.model import Role

if TYPE_CHECKING:
    from services.auth.settings import AuthSettings


async def ensure_account(settings: AuthSettings, *, email: str, password: str, name: str, role: str) -> str:
    """Return the id of the account of this e-mail address; if there is none, make it, with any password.

    `role` is named as in azora.policy.v1.Role. Raises EmailInvalid, DependencyUnavailable; ValueError for no such role.
    """
    parts = assemble(settings)
    try:
        return await parts.accounts.create_account(email=email, password=password, name=name, role=Role(role))
    finally:
        await parts.close()
