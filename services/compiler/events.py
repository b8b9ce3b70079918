"""The contract's events for people: who publishes what, to whom, and what it holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from services.shared.events import declared_events
from services.shared.policy import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import FieldDescriptor

    from services.compiler.contract import Contract
    from services.shared.events import EventType

RECEIVE = ".InternalService/ReceiveEvents"
WEBHOOKS = ".WebhookService/CreateWebhook"
WEBHOOK_TYPE = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")
INTRODUCTION = """\
# Events

Compiled from the `.proto` files by `make generate`. An event is a message with the option `azora.policy.v1.event`,
published by the service of its package.

- **Delivery**: at least once and in no particular order, to `InternalService.ReceiveEvents` of each subscriber. The
  publisher writes the event in the transaction that it reports. Subscribers handle each event id once.
- **Retries**: a failed delivery is retried with exponential backoff for 7 days.
- **Dead letters**: an event that a subscriber refused for good, or that could not be delivered in time.
  `azora events list` shows them, `azora events retry` delivers them again.
- **Access**: a subscriber accepts a type only from the service that publishes it.
- **Webhooks**: an event with a webhook type is also sent over HTTP to the [webhooks](webhooks.md) of the users whom the
  listed fields name, and to those of the platform. The payload's `data` is the event's message as JSON.
"""


def check_events(contract: Contract, events: Iterable[EventType]) -> None:
    """Raise PolicyError for an event of no service, or with a subscriber that cannot receive it."""
    receivers = {policy.owner: policy for policy in contract.policies.values() if policy.path.endswith(RECEIVE)}
    for event in events:
        if event.publisher not in contract.owners:
            raise PolicyError(f"{event.name} is an event, and no service serves its package")
        for subscriber in event.subscribers:
            if subscriber not in receivers:
                raise PolicyError(f"{event.name} names {subscriber}, which has no {RECEIVE[1:]}")
            if event.publisher not in receivers[subscriber].services:
                raise PolicyError(f"{receivers[subscriber].path} is not open to publishers")


def check_webhooks(contract: Contract, events: Iterable[EventType]) -> None:
    """Raise PolicyError for an event that webhooks cannot carry as it is declared."""
    carriers = {policy.owner for policy in contract.policies.values() if policy.path.endswith(WEBHOOKS)}
    types: dict[str, str] = {}
    for event in events:
        if event.webhook is None:
            continue
        if event.publisher not in carriers:
            raise PolicyError(f"{event.name} is for webhooks, and {event.publisher} has no {WEBHOOKS[1:]}")
        if not WEBHOOK_TYPE.fullmatch(event.webhook.type):
            raise PolicyError(f"{event.name} has the webhook type {event.webhook.type!r}, which must be like noun.verb")
        if types.setdefault(event.webhook.type, event.name) != event.name:
            raise PolicyError(f"{event.name} has the webhook type of {types[event.webhook.type]}")
        fields = contract.pool.FindMessageTypeByName(event.name).fields_by_name
        for name in event.webhook.user_fields:
            if name not in fields or fields[name].type != FieldDescriptorProto.TYPE_STRING or fields[name].is_repeated:
                raise PolicyError(f"{event.name} names users by {name}, which is no string field of it")


def events_page(contract: Contract) -> str:
    """Return a page of Markdown. Raises PolicyError."""
    events = declared_events()
    check_events(contract, events)
    check_webhooks(contract, events)
    return "\n".join((INTRODUCTION, _overview(events), *(_event(contract, event) for event in events)))


def _overview(events: tuple[EventType, ...]) -> str:
    lines = ["| Event | Publisher | Subscribers | Webhook type | Users |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(_row(event))} |" for event in events]
    return "\n".join((*lines, ""))


def _row(event: EventType) -> tuple[str, ...]:
    webhook = event.webhook
    users = ", ".join(f"`{name}`" for name in webhook.user_fields) if webhook else ""
    return (
        f"`{event.name}`",
        event.publisher,
        ", ".join(event.subscribers) or "-",
        f"`{webhook.type}`" if webhook else "-",
        users or "-",
    )


def _event(contract: Contract, event: EventType) -> str:
    message = contract.pool.FindMessageTypeByName(event.name)
    lines = [f"## {event.name}", "", "| Field | Type |", "| --- | --- |"]
    lines += [f"| `{field.name}` | {_type(field)} |" for field in message.fields]
    return "\n".join((*lines, ""))


def _type(field: FieldDescriptor) -> str:
    kind = field.message_type or field.enum_type
    scalar = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()  # type: ignore[arg-type] # an int
    name = f"`{kind.full_name}`" if kind else scalar
    return f"repeated {name}" if field.is_repeated else name
