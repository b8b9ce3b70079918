"""Sending, using and revoking links by mail. Every operation is part of its caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.auth.links.model import Purpose
from services.shared.opaque_tokens import new_token

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime, timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.model import EmailAddress
    from services.auth.links.model import Link
    from services.auth.links.store import LinkStore
    from services.auth.mail.model import Kind
    from services.auth.mail.operations import MailOperations

PAGES = {Purpose.PASSWORD_RESET: "reset-password"}
EMAIL_PAGE = "verify-email"
"""The page that uses all other links, with AuthService.VerifyEmail."""


class LinkOperations:
    """Links of one use. The database holds digests of their tokens."""

    def __init__(
        self, *, store: LinkStore, mail: MailOperations, pages_url: str, lifetime: timedelta, undo_lifetime: timedelta
    ) -> None:
        self._store = store
        self._mail = mail
        self._pages_url = pages_url
        self._lifetime = lifetime
        self._undo_lifetime = undo_lifetime

    def url(self, *, token: str, purpose: Purpose | None = None) -> str:
        """Return the address of the page that uses a token. In the fragment, it reaches no server's log."""
        page = PAGES.get(purpose, EMAIL_PAGE) if purpose else EMAIL_PAGE
        return f"{self._pages_url}/{page}#token={token}"

    async def send(
        self, connection: AsyncConnection, *, link: Link, kind: Kind, values: Mapping[str, str] | None = None
    ) -> bool:
        """Mail a new link to its address. Returns False, and makes none, beyond the limit of mails."""
        token = new_token()
        filled = {"link": self.url(token=token, purpose=link.purpose)} | dict(values or {})
        sent = await self._mail.enqueue(connection, kind=kind, user_id=link.user_id, address=link.email, values=filled)
        if sent:
            lifetime = self._undo_lifetime if link.purpose is Purpose.EMAIL_UNDO else self._lifetime
            await self._store.insert_link(connection, token=token, link=link, lifetime=lifetime)
        return sent

    async def find(self, connection: AsyncConnection, *, token: str, purposes: Collection[Purpose]) -> Link | None:
        """Return the link of this token, which stays valid; None if it is not valid."""
        return await self._store.find_link(connection, token=token, purposes=purposes)

    async def claim(
        self, connection: AsyncConnection, *, token: str, purposes: Collection[Purpose]
    ) -> tuple[Link, datetime] | None:
        """Use the link of this token and return it with the time at which it was made; None if it is not valid.

        The caller has locked the account, as whoever revokes its links has.
        """
        return await self._store.claim_link(connection, token=token, purposes=purposes)

    async def is_restorable(self, connection: AsyncConnection, *, email: EmailAddress) -> bool:
        """Whether a link can still restore this address to an account."""
        return await self._store.is_restorable(connection, email)

    async def revoke(self, connection: AsyncConnection, *, user_id: str, since: datetime | None = None) -> None:
        """Revoke the user's links.

        Those that undo a change of address outlive later changes: who took an account over would otherwise change it
        twice. `since` revokes those that were sent since this time, too.
        """
        await self._store.delete_links(connection, user_id, since=since)
