"""Ports of Auth: what it needs beside its database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from email.message import EmailMessage


class MailTransport(Protocol):
    """The way out for mails."""

    async def send(self, message: EmailMessage) -> bool:
        """Hand a mail over; return False if it was rejected for good. Raises DependencyUnavailable."""
        ...
