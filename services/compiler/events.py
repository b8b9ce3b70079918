"""The contract's events for people: who publishes what, to whom, and what it holds."""

from __future__ import annotations

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
"""


def check_events(contract: Contract, events: Iterable[EventType]) -> None:
    """Raise PolicyError for an event of no service, or with a subscriber that cannot receive it."""
    receivers = {policy.owner: policy for policy in contract.policies().values() if policy.path.endswith(RECEIVE)}
    for event in events:
        if event.publisher not in contract.owners:
            raise PolicyError(f"{event.name} is an event, and no service serves its package")
        for subscriber in event.subscribers:
            if subscriber not in receivers:
                raise PolicyError(f"{event.name} names {subscriber}, which has no {RECEIVE[1:]}")
            if event.publisher not in receivers[subscriber].services:
                raise PolicyError(f"{receivers[subscriber].path} is not open to publishers")


def events_page(contract: Contract) -> str:
    """Return a page of Markdown. Raises PolicyError."""
    events = declared_events()
    check_events(contract, events)
    return "\n".join((INTRODUCTION, _overview(events), *(_event(contract, event) for event in events)))


def _overview(events: tuple[EventType, ...]) -> str:
    lines = ["| Event | Publisher | Subscribers |", "| --- | --- | --- |"]
    lines += [f"| `{event.name}` | {event.publisher} | {', '.join(event.subscribers) or '-'} |" for event in events]
    return "\n".join((*lines, ""))


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
