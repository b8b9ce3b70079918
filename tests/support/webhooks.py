"""People and their webhooks, on a running Payment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azora.payment.v1 import webhook_pb2, webhook_service_pb2_grpc
from azora.payment.v1 import webhook_service_pb2 as pb

from services.payment.payments.model import PaymentRefunded
from services.shared.ids import new_id
from services.shared.money import Money
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.duration_pb2 import Duration
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.app import Container
    from tests.support.payment import Person, RunningPayment
    from tests.support.receiver import Received

DOCUMENTATION = Path(__file__).parents[2] / "docs/webhooks.md"


def documented_receiver() -> tuple[Callable[..., None], type[Exception]]:
    """Return the function `verify` of the documentation, and the InvalidWebhook that it raises."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - what is shown to people is what is tested
    return names["verify"], names["InvalidWebhook"]


def is_signed(request: Received, secret: str) -> bool:
    """Whether the receiver of the documentation takes a request for one signed with the secret."""
    verify, invalid = documented_receiver()
    try:
        verify(secret, request.headers, request.body)
    except invalid:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook and its owner."""

    id: str
    secret: str
    owner: Person
    payment: RunningPayment

    async def read(self) -> webhook_pb2.Webhook:
        """Read it."""
        request = pb.GetWebhookRequest(webhook_id=self.id)
        return (await stub(self.payment).GetWebhook(request, metadata=self.owner.metadata)).webhook

    async def deliveries(self, **arguments: Any) -> Sequence[webhook_pb2.WebhookDelivery]:
        """List its deliveries, newest first."""
        request = pb.ListWebhookDeliveriesRequest(webhook_id=self.id, **arguments)
        return (await stub(self.payment).ListWebhookDeliveries(request, metadata=self.owner.metadata)).deliveries

    async def delivered(self, state: str = "DELIVERED", *, within_seconds: float = 10) -> webhook_pb2.WebhookDelivery:
        """Wait until its newest delivery is in a state, and return it."""
        number = webhook_pb2.WebhookDeliveryState.Value(f"WEBHOOK_DELIVERY_STATE_{state}")

        async def found() -> webhook_pb2.WebhookDelivery | None:
            newest = (await self.deliveries(page_size=1))[:1]
            return newest[0] if newest and newest[0].state == number else None

        delivery = await eventually(found, within_seconds=within_seconds)
        assert delivery is not None
        return delivery

    async def attempted(self, count: int) -> webhook_pb2.WebhookDelivery:
        """Wait until its newest delivery has been attempted so often, and return it."""

        async def found() -> webhook_pb2.WebhookDelivery | None:
            newest = (await self.deliveries(page_size=1))[:1]
            return newest[0] if newest and len(newest[0].attempts) >= count else None

        delivery = await eventually(found)
        assert delivery is not None
        return delivery

    async def redeliver(self, delivery_id: str) -> webhook_pb2.WebhookDelivery:
        """Have a delivery sent again."""
        request = pb.RedeliverWebhookDeliveryRequest(webhook_id=self.id, delivery_id=delivery_id)
        return (await stub(self.payment).RedeliverWebhookDelivery(request, metadata=self.owner.metadata)).delivery

    async def rotate(self, lifetime: Duration | None = None) -> str:
        """Replace the secret; return the new one."""
        request = pb.RotateWebhookSecretRequest(webhook_id=self.id, previous_secret_lifetime=lifetime)
        return (await stub(self.payment).RotateWebhookSecret(request, metadata=self.owner.metadata)).secret

    async def enable(self) -> None:
        """Enable it."""
        request = pb.EnableWebhookRequest(webhook_id=self.id)
        await stub(self.payment).EnableWebhook(request, metadata=self.owner.metadata)

    async def disable(self) -> None:
        """Disable it."""
        request = pb.DisableWebhookRequest(webhook_id=self.id)
        await stub(self.payment).DisableWebhook(request, metadata=self.owner.metadata)

    async def delete(self) -> None:
        """Delete it."""
        request = pb.DeleteWebhookRequest(webhook_id=self.id)
        await stub(self.payment).DeleteWebhook(request, metadata=self.owner.metadata)


def stub(payment: RunningPayment) -> webhook_service_pb2_grpc.WebhookServiceAsyncStub:
    """Return the stub of WebhookService."""
    return webhook_service_pb2_grpc.WebhookServiceStub(payment.channel)


async def hook(payment: RunningPayment, owner: Person, url: str, **arguments: Any) -> Hook:
    """Create a webhook of this person, or of the platform."""
    request = pb.CreateWebhookRequest(url=url, **arguments)
    created = await stub(payment).CreateWebhook(request, metadata=owner.metadata)
    return Hook(created.webhook.id, created.secret, owner, payment)


async def publish(replica: Container, *user_ids: str) -> Sequence[str]:
    """Publish an event for each user, as a refund does; return the payments."""
    events = [PaymentRefunded(new_id(), True, user_id, new_id(), Money(100, "AZR")) for user_id in user_ids]

    async def work(connection: AsyncConnection) -> None:
        await replica.outbox.publish(connection, *events)

    await replica.infrastructure.database.transaction(work)
    return [event.payment_id for event in events]
