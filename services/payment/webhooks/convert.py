"""Conversion between webhooks, deliveries, events and messages."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import orjson
from azora.payment.v1 import events_pb2, webhook_pb2
from azora.payment.v1 import webhook_service_pb2 as pb
from google.protobuf.json_format import MessageToDict

from services.payment.webhooks.model import (
    DeliveryState,
    NewWebhook,
    Occurrence,
    WebhookChanges,
)
from services.shared.convert import timestamp
from services.shared.errors import UpdateMaskInvalid
from services.shared.events import declared_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from azora.event.v1 import event_pb2

    from services.payment.webhooks.model import Attempt, Delivery, EventTypeInfo, Webhook
    from services.shared.pagination import Page

MUTABLE = ("url", "event_types", "description")
MAX_PATH_CHARACTERS = 100
DEFAULT_PREVIOUS_LIFETIME = timedelta(hours=24)


def occurrence(event: event_pb2.Event) -> Occurrence:
    """Return an event of the outbox as webhooks carry it."""
    name = event.what.TypeName()
    (carried,) = (known.webhook for known in declared_events() if known.name == name and known.webhook)
    message: Any = getattr(events_pb2, name.rpartition(".")[2]).FromString(event.what.value)
    payload = {
        "type": carried.type,
        "id": event.id,
        "timestamp": event.occur_time.ToJsonString(),
        "data": MessageToDict(message, always_print_fields_with_no_presence=True),
    }
    users = {getattr(message, field) for field in carried.user_fields} - {""}
    occur_time = event.occur_time.ToDatetime(UTC)
    return Occurrence(event.id, carried.type, occur_time, tuple(sorted(users)), orjson.dumps(payload))


def new_webhook(request: pb.CreateWebhookRequest) -> NewWebhook:
    """Return what the request asks for."""
    return NewWebhook(request.url, tuple(request.event_types), request.description, request.all_users)


def webhook_changes(request: pb.UpdateWebhookRequest) -> WebhookChanges:
    """Return what the mask names, or without one the fields that are present; a field that is named and absent empties.

    Raises UpdateMaskInvalid for a path that is unknown or not the owner's to change.
    """
    present = [field.name for field, _ in request.webhook.ListFields() if field.name in MUTABLE]
    paths = request.update_mask.paths or present
    for path in paths:
        if path not in MUTABLE:
            raise UpdateMaskInvalid(path=path[:MAX_PATH_CHARACTERS])
    return WebhookChanges(
        url=request.webhook.url if "url" in paths else None,
        event_types=list(request.webhook.event_types) if "event_types" in paths else None,
        description=request.webhook.description if "description" in paths else None,
    )


def previous_lifetime(request: pb.RotateWebhookSecretRequest) -> timedelta:
    """Return how long the replaced secret still signs."""
    if not request.HasField("previous_secret_lifetime"):
        return DEFAULT_PREVIOUS_LIFETIME
    return request.previous_secret_lifetime.ToTimedelta()


def delivery_state(request: pb.ListWebhookDeliveriesRequest) -> DeliveryState | None:
    """Return the state that the list is limited to; None for every state."""
    name = webhook_pb2.WebhookDeliveryState.Name(request.state).removeprefix("WEBHOOK_DELIVERY_STATE_")
    return DeliveryState(name) if request.state else None


def webhook(model: Webhook) -> webhook_pb2.Webhook:
    """Return the message of a webhook, without its secrets."""
    return webhook_pb2.Webhook(
        id=model.id,
        user_id=model.user_id,
        url=model.url,
        event_types=model.event_types,
        description=model.description,
        state=webhook_pb2.WebhookState.Value(f"WEBHOOK_STATE_{model.state}"),
        disable_reason=webhook_pb2.WebhookDisableReason.Value(
            f"WEBHOOK_DISABLE_REASON_{model.disable_reason or 'UNSPECIFIED'}"
        ),
        failing_since=timestamp(model.failing_since),
        previous_secret_expire_time=timestamp(model.previous_secret_expire_time),
        create_time=timestamp(model.create_time),
        update_time=timestamp(model.update_time),
    )


def delivery(model: Delivery) -> webhook_pb2.WebhookDelivery:
    """Return the message of a delivery."""
    pending = model.state is DeliveryState.PENDING
    return webhook_pb2.WebhookDelivery(
        id=model.id,
        event_id=model.event_id,
        event_type=model.event_type,
        state=webhook_pb2.WebhookDeliveryState.Value(f"WEBHOOK_DELIVERY_STATE_{model.state}"),
        occur_time=timestamp(model.occur_time),
        next_attempt_time=timestamp(model.attempt_time if pending else None),
        attempts=[_attempt(made) for made in model.attempts],
        payload=model.payload.decode(),
    )


def _attempt(made: Attempt) -> webhook_pb2.WebhookAttempt:
    return webhook_pb2.WebhookAttempt(
        attempt_time=timestamp(made.attempt_time),
        response_status=made.response_status,
        error=made.error,
        duration_ms=made.duration_ms,
    )


def create_webhook_response(created: tuple[Webhook, str]) -> pb.CreateWebhookResponse:
    """Return the webhook and its secret."""
    return pb.CreateWebhookResponse(webhook=webhook(created[0]), secret=created[1])


def list_webhooks_response(page: Page[Webhook]) -> pb.ListWebhooksResponse:
    """Return a page of webhooks."""
    return pb.ListWebhooksResponse(
        webhooks=[webhook(model) for model in page.items], next_page_token=page.next_page_token
    )


def get_webhook_response(model: Webhook) -> pb.GetWebhookResponse:
    """Return the webhook."""
    return pb.GetWebhookResponse(webhook=webhook(model))


def update_webhook_response(model: Webhook) -> pb.UpdateWebhookResponse:
    """Return the webhook after the update."""
    return pb.UpdateWebhookResponse(webhook=webhook(model))


def enable_webhook_response(model: Webhook) -> pb.EnableWebhookResponse:
    """Return the enabled webhook."""
    return pb.EnableWebhookResponse(webhook=webhook(model))


def disable_webhook_response(model: Webhook) -> pb.DisableWebhookResponse:
    """Return the disabled webhook."""
    return pb.DisableWebhookResponse(webhook=webhook(model))


def rotate_webhook_secret_response(rotated: tuple[Webhook, str]) -> pb.RotateWebhookSecretResponse:
    """Return the webhook and its new secret."""
    return pb.RotateWebhookSecretResponse(webhook=webhook(rotated[0]), secret=rotated[1])


def list_webhook_deliveries_response(page: Page[Delivery]) -> pb.ListWebhookDeliveriesResponse:
    """Return a page of deliveries."""
    return pb.ListWebhookDeliveriesResponse(
        deliveries=[delivery(model) for model in page.items], next_page_token=page.next_page_token
    )


def redeliver_webhook_delivery_response(model: Delivery) -> pb.RedeliverWebhookDeliveryResponse:
    """Return the delivery that is due again."""
    return pb.RedeliverWebhookDeliveryResponse(delivery=delivery(model))


def list_webhook_event_types_response(types: Sequence[EventTypeInfo]) -> pb.ListWebhookEventTypesResponse:
    """Return the event types."""
    return pb.ListWebhookEventTypesResponse(
        event_types=[pb.WebhookEventType(type=known.type, message=known.message) for known in types]
    )
