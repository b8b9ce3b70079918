"""The ports over the typed stubs of the other services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import internal_service_pb2, internal_service_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp

from services.shared.errors import DependencyUnavailable, Refused

if TYPE_CHECKING:
    from grpc import aio

    from services.payment.ports import PaymentRefunded


class EducationClient:
    """Education over the mesh."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = internal_service_pb2_grpc.InternalServiceStub(channel)

    async def receive(self, event: PaymentRefunded) -> None:
        """Deliver the event. Raises DependencyUnavailable whatever went wrong: it is to be delivered again."""
        occur_time = Timestamp()
        occur_time.FromDatetime(event.occur_time)
        message = internal_service_pb2.Event(
            id=event.id,
            occur_time=occur_time,
            payment_refunded=internal_service_pb2.PaymentRefunded(payment_id=event.payment_id, in_full=event.in_full),
        )
        try:
            await self._stub.ReceiveEvents(internal_service_pb2.ReceiveEventsRequest(events=[message]))
        except Refused as error:
            raise DependencyUnavailable(metadata={"service": "education"}) from error
