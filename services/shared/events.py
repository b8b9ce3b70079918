"""The events that the contract declares: which service publishes each, and which services subscribe to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from azora.policy.v1 import policy_pb2

from services.shared.descriptors import descriptor_set

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.descriptor_pb2 import FileDescriptorSet


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """How webhooks carry an event."""

    type: str
    """What receivers see: "payment.refunded"."""
    user_fields: tuple[str, ...]
    """The fields that name the users whom it concerns."""


@dataclass(frozen=True, slots=True)
class EventType:
    """A message with the option azora.policy.v1.event."""

    name: str
    """Full name of the message: "azora.payment.v1.PaymentRefunded"."""
    subscribers: tuple[str, ...]
    webhook: WebhookEvent | None = None
    """Unset: no webhook carries it."""

    @property
    def publisher(self) -> str:
        """The service that owns the message's package: "payment"."""
        return self.name.split(".")[1]


@cache
def declared_events() -> tuple[EventType, ...]:
    """Read all events from the descriptor set of azora-protos, whichever of its modules were imported."""
    return events_of(descriptor_set())


def events_of(descriptors: FileDescriptorSet) -> tuple[EventType, ...]:
    """Return the events that a descriptor set declares, by name."""
    return tuple(sorted(_events(descriptors), key=lambda event: event.name))


def publishers_to(subscriber: str, events: Sequence[EventType]) -> frozenset[str]:
    """Return the services that publish an event to which the subscriber subscribes."""
    return frozenset(event.publisher for event in events if subscriber in event.subscribers)


def _events(descriptors: FileDescriptorSet) -> Iterator[EventType]:
    for file in descriptors.file:
        for message in file.message_type:
            if message.options.HasExtension(policy_pb2.event):
                declared = message.options.Extensions[policy_pb2.event]
                webhook = WebhookEvent(declared.webhook.type, tuple(declared.webhook.user_fields))
                yield EventType(
                    f"{file.package}.{message.name}",
                    tuple(declared.subscribers),
                    webhook if declared.HasField("webhook") else None,
                )
