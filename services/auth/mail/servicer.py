"""MailService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import mail_service_pb2_grpc

from services.auth.mail import convert

if TYPE_CHECKING:
    from azora.auth.v1 import mail_service_pb2 as pb

    from interceptors.base import Context
    from services.auth.mail.operations import MailOperations


class MailServicer(mail_service_pb2_grpc.MailServiceServicer):
    """The mails that a development system keeps."""

    def __init__(self, operations: MailOperations) -> None:
        self._operations = operations

    async def ListMessages(self, request: pb.ListMessagesRequest, context: Context) -> pb.ListMessagesResponse:
        return convert.list_messages_response(
            await self._operations.list_messages(page_size=request.page_size, page_token=request.page_token)
        )
