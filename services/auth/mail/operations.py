"""Queueing, rendering and delivering mails."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from services.auth.mail.model import (
    MAX_KEPT,
    MAX_MAILS,
    NOTICE_LIFETIME,
    DeliverMail,
    Kind,
    MailMessage,
    MailState,
    NewMail,
    Payload,
    SealedAddress,
    Text,
)
from services.shared.db import ID_MAX
from services.shared.errors import DependencyUnavailable
from services.shared.ids import new_id
from services.shared.jobs import enqueue
from services.shared.pagination import Page
from services.shared.personal_data import ErasurePending, delete_failed_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.model import User
    from services.auth.mail.model import Mail
    from services.auth.mail.store import MailStore
    from services.auth.ports import MailTransport
    from services.shared.db import Database
    from services.shared.encryption import Encryption
    from services.shared.pagination import PageTokens

logger = logging.getLogger(__name__)

LOCK_KEY_BYTES = 8


class Templates:
    """Renders mails as text and as HTML from one template for each kind.

    A template is made of `paragraph(text)` and `action(label, link)`. In HTML whatever fills it is escaped.
    """

    def __init__(self, values: Mapping[str, str | int]) -> None:
        """`values` are known to every template."""
        self._text = _environment("text", values)
        self._text.globals |= {"paragraph": _paragraph, "action": _action}
        self._html = _environment("html", values)
        self._html.globals |= {"paragraph": _paragraph_html, "action": _action_html}

    def render(self, kind: Kind, values: Mapping[str, str]) -> Text:
        """Return the mail of this kind. Raises jinja2.UndefinedError if a value is missing."""
        template = self._text.get_template(f"{kind}.jinja")
        subject = "".join(template.blocks["subject"](template.new_context(dict(values))))
        html = self._html.get_template(f"{kind}.jinja").render(values, title=subject)
        return Text(subject, template.render(values), html)


class MailOperations:
    """Mails that are queued in the transaction of their cause, and delivered after its commit."""

    def __init__(
        self,
        *,
        database: Database,
        store: MailStore,
        pages: PageTokens,
        encryption: Encryption,
        digest_key: bytes,
        transport: MailTransport | None,
        templates: Templates,
        sender: str,
        link_lifetime: timedelta,
        keep: bool,
        limit_scale: float = 1.0,
    ) -> None:
        """Without a `transport` nothing is sent. `keep` leaves the texts of the last 100 mails to be read."""
        self._database = database
        self._store = store
        self._pages = pages
        self._encryption = encryption
        self._digest_key = digest_key
        self._transport = transport
        self._templates = templates
        self._sender = sender
        self._link_lifetime = link_lifetime
        self._keep = keep
        self._max_mails = max(1, int(MAX_MAILS * limit_scale))

    async def enqueue(
        self, connection: AsyncConnection, *, kind: Kind, user_id: str | None, address: str, values: Mapping[str, str]
    ) -> bool:
        """Queue a mail in the connection's open transaction, which should have nothing else left to wait for.

        Returns False, and queues nothing, if the address was sent MAX_MAILS of this kind within LIMIT_WINDOW.
        """
        digest = self._digest(kind, address)
        await self._store.lock_limit(connection, int.from_bytes(digest[:LOCK_KEY_BYTES], "big", signed=True))
        if await self._store.count_recent_mails(connection, address_digest=digest, kind=kind) >= self._max_mails:
            logger.info("mail not queued: limit per address and kind", extra={"kind": kind})
            return False
        mail_id = new_id()
        payload = json.dumps({"address": address, "values": dict(values)}).encode()
        mail = NewMail(
            id=mail_id,
            kind=kind,
            user_id=user_id,
            address_digest=digest,
            payload_sealed=self._encryption.encrypt(payload, row_id=mail_id),
            lifetime=self._link_lifetime if kind.expires_with_link else NOTICE_LIFETIME,
        )
        await self._store.insert_mail(connection, mail)
        await enqueue(connection, DeliverMail(mail_id))
        return True

    async def notify(self, connection: AsyncConnection, *, kind: Kind, user: User) -> bool:
        """Queue a notice to a user's address, as `enqueue` does; its value is the name."""
        return await self.enqueue(
            connection, kind=kind, user_id=user.id, address=user.email, values={"name": user.greeting_name}
        )

    def seal_address(self, *, address: str) -> SealedAddress:
        """Encrypt an address for a job that decides what is written to it."""
        address_id = new_id()
        sealed = self._encryption.encrypt(address.encode(), row_id=address_id)
        return SealedAddress(address_id, base64.b64encode(sealed).decode(), self._job_digest(address))

    def open_address(self, *, address: SealedAddress) -> str:
        """Return an address that was encrypted."""
        return self._encryption.decrypt(base64.b64decode(address.sealed), row_id=address.id).decode()

    async def deliver_mail(self, job: DeliverMail) -> None:
        """Send a mail and erase it. One that has expired is given up.

        Raises DependencyUnavailable while the SMTP server does not take it. If the outcome of an attempt is lost it is
        sent again, with the same Message-ID.
        """
        async with self._database.reading() as connection:
            mail = await self._store.find_queued_mail(connection, job.mail_id)
        if mail is None:
            return
        state = MailState.EXPIRED if mail.expired else await self._send(mail)

        async def work(connection: AsyncConnection) -> None:
            await self._store.update_state(connection, mail.id, state, keep_payload=self._keep)
            if self._keep:
                await self._store.delete_old_payloads(connection, kept=MAX_KEPT)

        await self._database.transaction(work)
        if state in (MailState.EXPIRED, MailState.REFUSED):
            logger.warning("mail not delivered", extra={"mail": mail.id, "kind": mail.kind, "state": state})

    async def list_messages(self, *, page_size: int, page_token: str) -> Page[MailMessage]:
        """Return a page of the kept mails, newest first. Raises PageTokenInvalid."""
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to={"method": "ListMessages"})
        before_id = request.cursor[0] if request.cursor else ID_MAX
        async with self._database.reading() as connection:
            found = await self._store.list_kept_mails(connection, before_id=before_id, count=request.limit)
        page = request.page(found, lambda mail: [mail.id])
        return Page([self._message(mail) for mail in page.items], page.next_page_token)

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:
        """Return which mails a person was sent, and when; their texts are erased at delivery."""
        digests = self._digests(await self._store.find_address(connection, user_id))
        return {"mails": await self._store.list_mails_of(connection, user_id, digests=digests)}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Delete the mails to a person, and failed jobs with the address.

        Raises ErasurePending while a mail is to be delivered, or a job with the address is to run.
        """
        address = await self._store.find_address(connection, user_id)
        digests = self._digests(address)
        jobs = await delete_failed_jobs(connection, naming=self._job_digest(address)) if address else 0
        if await self._store.count_queued_mails_of(connection, user_id, digests=digests):
            raise ErasurePending("mails to the user are still to be delivered")
        return jobs + await self._store.delete_mails_of(connection, user_id, digests=digests)

    def _digests(self, address: str | None) -> list[bytes]:
        return [self._digest(kind, address) for kind in Kind] if address else []

    def _job_digest(self, address: str) -> str:
        return self._digest("job", address).hex()

    def _digest(self, purpose: str, address: str) -> bytes:
        return hmac.digest(self._digest_key, f"{purpose}:{address.casefold()}".encode(), hashlib.sha256)

    async def _send(self, mail: Mail) -> MailState:
        if self._transport is None:
            if not self._keep:
                raise DependencyUnavailable  # Until there is one, or the mail expires.
            return MailState.KEPT
        message = self._message(mail)
        return MailState.SENT if await self._transport.send(self._mime(message)) else MailState.REFUSED

    def _message(self, mail: Mail) -> MailMessage:
        payload = Payload(**json.loads(self._encryption.decrypt(mail.payload_sealed, row_id=mail.id)))
        return MailMessage(mail, payload.address, self._templates.render(mail.kind, payload.values))

    def _mime(self, message: MailMessage) -> EmailMessage:
        """Return the mail as RFC 5322 has it. EmailMessage refuses line breaks in a header."""
        mime = EmailMessage()
        mime["From"] = self._sender
        mime["To"] = message.address
        mime["Subject"] = message.content.subject
        mime["Date"] = message.mail.create_time
        mime["Message-ID"] = f"<{message.mail.id}@{self._sender.rpartition('@')[2].rstrip('>')}>"
        # Vacation responders leave such a mail alone (RFC 3834).
        mime["Auto-Submitted"] = "auto-generated"
        mime.set_content(message.content.text)
        mime.add_alternative(message.content.html, subtype="html")
        return mime


def _environment(form: str, values: Mapping[str, str | int]) -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=form == "html",  # noqa: S701 - plain text is not escaped
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= dict(values) | {"layout": f"{form}/layout.jinja"}
    return environment


def _paragraph(text: str) -> str:
    return f"{text}\n"


def _action(label: str, link: str) -> str:
    return f"{label}:\n{link}\n"


def _paragraph_html(text: str) -> Markup:
    return Markup("<p>{}</p>").format(text)


def _action_html(label: str, link: str) -> Markup:
    return Markup('<p><a class="action" href="{}">{}</a></p>').format(link, label)
