"""Ports of Auth: what it needs beside its database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from email.message import EmailMessage


class MailTransport(Protocol):
    """Sends mails."""

    async def send(self, message: EmailMessage) -> bool:
        """Send a mail; return False if it was rejected permanently. Raises DependencyUnavailable."""
        ...
