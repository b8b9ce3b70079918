"""Conversion between mails and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import mail_pb2
from azora.auth.v1 import mail_service_pb2 as pb

from services.shared.convert import timestamp

if TYPE_CHECKING:
    from services.auth.mail.model import MailMessage
    from services.shared.pagination import Page


def mail_message(model: MailMessage) -> mail_pb2.MailMessage:
    """Return the message of a mail."""
    return mail_pb2.MailMessage(
        id=model.mail.id,
        kind=model.mail.kind,
        address=model.address,
        subject=model.content.subject,
        text=model.content.text,
        html=model.content.html,
        state=mail_pb2.MailState.Value(f"MAIL_STATE_{model.mail.state}"),
        create_time=timestamp(model.mail.create_time),
    )


def list_messages_response(page: Page[MailMessage]) -> pb.ListMessagesResponse:
    """Return a page of mails."""
    return pb.ListMessagesResponse(
        messages=[mail_message(message) for message in page.items], next_page_token=page.next_page_token
    )
