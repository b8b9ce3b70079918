"""An SMTP server for tests: takes mails, refuses them, or takes connections and says nothing."""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP

from tests.support.listening import listening
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from email.message import EmailMessage

ACCEPTED = "250 OK"
LINK = re.compile(r"#token=(\S+)")


@dataclass(slots=True)
class Mailbox:
    """What the server was sent; `recipient_reply` and `data_reply` are what it answers."""

    port: int = 0
    recipient_reply: str = ACCEPTED
    data_reply: str = ACCEPTED
    recipients: list[str] = field(default_factory=list)
    """Of every attempt."""
    messages: list[EmailMessage] = field(default_factory=list)

    @property
    def url(self) -> str:
        """As AZORA_SMTP_URL has it."""
        return f"smtp+plain://127.0.0.1:{self.port}"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        """Answer a recipient."""
        self.recipients.append(address)
        if self.recipient_reply == ACCEPTED:
            envelope.rcpt_tos.append(address)
        return self.recipient_reply

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Answer a mail."""
        if self.data_reply == ACCEPTED:
            self.messages.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return self.data_reply

    async def to(self, address: str, count: int = 1) -> list[EmailMessage]:
        """Wait until so many mails to an address have arrived, and return them."""

        async def arrived() -> list[EmailMessage]:
            found = [message for message in self.messages if message["To"] == address]
            return found if len(found) >= count else []

        return await eventually(arrived)

    async def token(self, address: str, subject: str, number: int = 1) -> str:
        """Wait for the so many-th mail of a subject to an address, and return the token of its link."""

        async def arrived() -> EmailMessage | None:
            found = [each for each in self.messages if (each["To"], each["Subject"]) == (address, subject)]
            return found[number - 1] if len(found) >= number else None

        message = await eventually(arrived)
        assert message is not None
        found = LINK.search(text_of(message))
        assert found is not None
        return found[1]


def text_of(message: EmailMessage) -> str:
    """Return the plain text of a mail."""
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


@asynccontextmanager
async def smtp_server() -> AsyncIterator[Mailbox]:
    """Run a server on loopback."""
    mailbox = Mailbox()
    loop = asyncio.get_running_loop()
    sessions: list[SMTP] = []

    def session() -> SMTP:
        sessions.append(SMTP(mailbox, hostname="localhost", loop=loop))
        return sessions[-1]

    server = await loop.create_server(session, "127.0.0.1")
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
        for opened in sessions:
            if opened.transport is not None:
                opened.transport.close()

        async def closed() -> bool:
            return not getattr(server, "_active_count", 0)  # Python 3.11's `wait_closed` waits for no connection.

        await eventually(closed)


@asynccontextmanager
async def frozen_server() -> AsyncIterator[str]:
    """Listen on loopback and never answer; give the URL."""

    async def say_nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with listening(say_nothing) as port:
        yield f"smtp+plain://127.0.0.1:{port}"
