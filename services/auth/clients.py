"""Implementation of the ports: SMTP, and the audit logs of the other services."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import aiosmtplib
from azora.education.v1 import internal_service_pb2 as education_pb2
from azora.education.v1 import internal_service_pb2_grpc as education_pb2_grpc
from azora.payment.v1 import internal_service_pb2 as payment_pb2
from azora.payment.v1 import internal_service_pb2_grpc as payment_pb2_grpc

from services.shared.audit.convert import stored_event, verified_chain
from services.shared.convert import timestamp
from services.shared.errors import DependencyUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from email.message import EmailMessage

    from grpc import aio

    from services.auth.ports import AuditSource
    from services.shared.audit.model import EventFilter, EventPosition, StoredEvent, Verified

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
"""Maximum duration of sending a mail, from connecting to the server's reply."""
PERMANENT_FAILURE = 500
"""Lowest SMTP reply code of a permanent failure (RFC 5321, section 4.2.1)."""
LIST_SECONDS = 2.0
VERIFY_SECONDS = 4.0
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


class EducationAudit:
    """The audit log of Education over the mesh."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = education_pb2_grpc.InternalServiceStub(channel)

    async def list_events(
        self, *, selected: EventFilter, before: EventPosition | None, limit: int
    ) -> Sequence[StoredEvent]:
        """Return the events that are selected, before a position, the newest first."""
        request = education_pb2.ListAuditEventsRequest(**_selection(selected, before, limit))
        response = await self._stub.ListAuditEvents(request, timeout=LIST_SECONDS)
        return [stored_event(event) for event in response.events]

    async def verify_chain(self, *, page_token: str) -> Verified:
        """Verify a part of the log."""
        request = education_pb2.VerifyAuditChainRequest(page_token=page_token)
        response = await self._stub.VerifyAuditChain(request, timeout=VERIFY_SECONDS)
        return verified_chain(response.chain, next_page_token=response.next_page_token)


class PaymentAudit:
    """The audit log of Payment over the mesh."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = payment_pb2_grpc.InternalServiceStub(channel)

    async def list_events(
        self, *, selected: EventFilter, before: EventPosition | None, limit: int
    ) -> Sequence[StoredEvent]:
        """Return the events that are selected, before a position, the newest first."""
        request = payment_pb2.ListAuditEventsRequest(**_selection(selected, before, limit))
        response = await self._stub.ListAuditEvents(request, timeout=LIST_SECONDS)
        return [stored_event(event) for event in response.events]

    async def verify_chain(self, *, page_token: str) -> Verified:
        """Verify a part of the log."""
        request = payment_pb2.VerifyAuditChainRequest(page_token=page_token)
        response = await self._stub.VerifyAuditChain(request, timeout=VERIFY_SECONDS)
        return verified_chain(response.chain, next_page_token=response.next_page_token)


def audit_sources(channel: aio.Channel) -> Mapping[str, AuditSource]:
    """Return the audit logs of the other services."""
    return {"education": EducationAudit(channel), "payment": PaymentAudit(channel)}


def _selection(selected: EventFilter, before: EventPosition | None, limit: int) -> dict[str, Any]:
    return {
        "limit": limit,
        "before_time": timestamp(before.create_time) if before else None,
        "before_id": before.id if before else "",
        "user_id": selected.user_id,
        "target": selected.target,
        "action": selected.action,
        "outcome": f"AUDIT_OUTCOME_{selected.outcome}" if selected.outcome else "AUDIT_OUTCOME_UNSPECIFIED",
        "start_time": timestamp(selected.start_time),
        "end_time": timestamp(selected.end_time),
    }
