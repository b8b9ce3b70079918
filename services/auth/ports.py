"""Ports of Auth: what it needs beside its database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import EmailMessage

    from services.shared.audit.model import EventFilter, EventPosition, StoredEvent, Verified


class MailTransport(Protocol):
    """Sends mails."""

    async def send(self, message: EmailMessage) -> bool:
        """Send a mail; return False if it was rejected permanently. Raises DependencyUnavailable."""
        ...


class AuditSource(Protocol):
    """The audit log of one service."""

    async def list_events(
        self, *, selected: EventFilter, before: EventPosition | None, limit: int
    ) -> Sequence[StoredEvent]:
        """Return the events that are selected, before a position, the newest first. Raises DependencyUnavailable."""
        ...

    async def verify_chain(self, *, page_token: str) -> Verified:
        """Verify a part of the log. Raises PageTokenInvalid, DependencyUnavailable."""
        ...
