"""Implementation of the ports: SMTP."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import aiosmtplib

from services.shared.errors import DependencyUnavailable

if TYPE_CHECKING:
    from email.message import EmailMessage

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
"""Maximum duration of sending a mail, from connecting to the server's reply."""
PERMANENT_FAILURE = 500
"""Lowest SMTP reply code of a permanent failure (RFC 5321, section 4.2.1)."""
PORTS = {"smtp": 587, "smtps": 465, "smtp+plain": 25}


@dataclass(frozen=True, slots=True)
class SmtpTransport:
    """An SMTP server, reached by a connection for each mail.

    `url` is smtp://USER:PASSWORD@HOST:PORT with STARTTLS, smtps:// with TLS from the first byte, or smtp+plain://
    without TLS.
    """

    url: str
    timeout_seconds: float = TIMEOUT_SECONDS

    async def send(self, message: EmailMessage) -> bool:
        """Send a mail; return False if it was rejected permanently. Raises DependencyUnavailable."""
        parts = urlsplit(self.url)
        try:
            async with asyncio.timeout(self.timeout_seconds):
                await aiosmtplib.send(
                    message,
                    hostname=parts.hostname,
                    port=parts.port or PORTS[parts.scheme],
                    username=unquote(parts.username) if parts.username else None,
                    password=unquote(parts.password) if parts.password else None,
                    use_tls=parts.scheme == "smtps",
                    start_tls=parts.scheme == "smtp",
                    timeout=self.timeout_seconds,
                )
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
            # Neither message nor arguments of the error: they name the recipient.
            code = _reply_code(error)
            logger.warning("SMTP server did not accept a mail", extra={"error": type(error).__name__, "code": code})
            if _concerns_mail(error) and code >= PERMANENT_FAILURE:
                return False
            raise DependencyUnavailable from None
        return True


def _concerns_mail(error: Exception) -> bool:
    """Whether the server rejected this recipient or this text, and not us."""
    return isinstance(error, aiosmtplib.SMTPRecipientsRefused | aiosmtplib.SMTPDataError)


def _reply_code(error: Exception) -> int:
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return max((refused.code for refused in error.recipients), default=0)
    return error.code if isinstance(error, aiosmtplib.SMTPResponseException) else 0
