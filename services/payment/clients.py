"""The ports over the typed stubs of the other services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from azora import client
from azora.education.v1 import internal_service_pb2 as pb
from azora.education.v1 import internal_service_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from services.payment.ports import Refused
from services.shared.errors import DependencyUnavailable
from services.shared.principal import current_request

if TYPE_CHECKING:
    from datetime import datetime

    from services.payment.payments.model import PaymentRefunded

CALL_SECONDS = 4.0
"""How long one call may take: two of them fit into CreateRefund's timeout."""


class EducationClient:
    """Education over the mesh."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = internal_service_pb2_grpc.InternalServiceStub(channel)

    async def close_enrollment(self, *, payment_id: str, refund_id: str, by_payer: bool) -> None:
        """End the enrolment that a payment bought. Raises Refused, DependencyUnavailable."""
        request = pb.CloseEnrollmentRequest(payment_id=payment_id, refund_id=refund_id, by_payer=by_payer)
        served = current_request()
        try:
            await self._stub.CloseEnrollment(
                request,
                timeout=served.remaining_seconds(CALL_SECONDS) if served else CALL_SECONDS,
                metadata=(("traceparent", served.traceparent), ("x-request-id", served.id)) if served else None,
            )
        except aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise Refused(client.error_reason(error)) from error
            raise DependencyUnavailable(retry_after_seconds=1) from error

    async def receive(self, event_id: str, occur_time: datetime, event: PaymentRefunded) -> None:
        """Deliver the event. Raises DependencyUnavailable whatever went wrong: it is to be delivered again."""
        moment = Timestamp()
        moment.FromDatetime(occur_time)
        message = pb.Event(
            id=event_id,
            occur_time=moment,
            payment_refunded=pb.PaymentRefunded(payment_id=event.payment_id, in_full=event.in_full),
        )
        try:
            await self._stub.ReceiveEvents(pb.ReceiveEventsRequest(events=[message]))
        except aio.AioRpcError as error:
            raise DependencyUnavailable(retry_after_seconds=1) from error
