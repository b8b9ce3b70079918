"""Implementation of the ports: SMTP, and the typed stubs of the other services."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import aiosmtplib
from azora.education.v1 import internal_service_pb2 as education_pb
from azora.education.v1 import internal_service_pb2_grpc as education_grpc
from azora.payment.v1 import internal_service_pb2 as payment_pb
from azora.payment.v1 import internal_service_pb2_grpc as payment_grpc

from services.shared.audit.convert import stored_event, verified_chain
from services.shared.convert import timestamp, to_money
from services.shared.errors import DependencyUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from email.message import EmailMessage

    from grpc import aio

    from services.auth.ports import AuditSource
    from services.shared.audit.model import EventFilter, EventPosition, StoredEvent, Verified
    from services.shared.money import Money

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


class _ServiceClient:
    """A service over the mesh, on a channel that raises Refused and DependencyUnavailable.

    What Auth asks of every service, each declares alike, with messages of its own.
    """

    def __init__(self, name: str, stub: Any, messages: Any) -> None:
        self.name = name
        self._stub = stub
        self._messages = messages

    async def erase_person(self, *, user_id: str) -> str:
        """Erase a user; return what has to end first."""
        pending: str = (await self._stub.ErasePerson(self._messages.ErasePersonRequest(user_id=user_id))).pending
        return pending

    async def export_person(self, *, user_id: str) -> AsyncGenerator[bytes]:
        """Yield what the service keeps of a user."""
        call = self._stub.ExportPerson(self._messages.ExportPersonRequest(user_id=user_id))
        try:
            async for response in call:
                yield response.part
        finally:
            call.cancel()

    async def list_events(
        self, *, selected: EventFilter, before: EventPosition | None, limit: int
    ) -> Sequence[StoredEvent]:
        """Return the events that are selected, before a position, the newest first."""
        request = self._messages.ListAuditEventsRequest(**_selection(selected, before, limit))
        response = await self._stub.ListAuditEvents(request, timeout=LIST_SECONDS)
        return [stored_event(event) for event in response.events]

    async def verify_chain(self, *, page_token: str, after: tuple[int, bytes] = (0, b"")) -> Verified:
        """Verify a part of the log, the first after a seal whose number and hash are known."""
        request = self._messages.VerifyAuditChainRequest(
            page_token=page_token, after_seal_number=after[0], after_seal_hash=after[1]
        )
        response = await self._stub.VerifyAuditChain(request, timeout=VERIFY_SECONDS)
        return verified_chain(response.chain, next_page_token=response.next_page_token)


class EducationClient(_ServiceClient):
    """Education over the mesh."""

    def __init__(self, channel: aio.Channel) -> None:
        super().__init__("education", education_grpc.InternalServiceStub(channel), education_pb)


class PaymentClient(_ServiceClient):
    """Payment over the mesh."""

    def __init__(self, channel: aio.Channel) -> None:
        super().__init__("payment", payment_grpc.InternalServiceStub(channel), payment_pb)

    async def list_balances(self, *, user_id: str) -> Sequence[Money]:
        """Return a user's balances that are not zero."""
        response = await self._stub.ListBalances(payment_pb.ListBalancesRequest(user_id=user_id))
        return [to_money(balance) for balance in response.balances]


def _concerns_mail(error: Exception) -> bool:
    """Whether the server rejected this recipient or this text, and not us."""
    return isinstance(error, aiosmtplib.SMTPRecipientsRefused | aiosmtplib.SMTPDataError)


def _reply_code(error: Exception) -> int:
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return max((refused.code for refused in error.recipients), default=0)
    return error.code if isinstance(error, aiosmtplib.SMTPResponseException) else 0


def audit_sources(channel: aio.Channel) -> Mapping[str, AuditSource]:
    """Return the audit logs of the other services."""
    return {"education": EducationClient(channel), "payment": PaymentClient(channel)}


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
