"""The inbox: events that other services deliver, each handled once and answered on its own."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from azora.event.v1 import event_pb2
from google.protobuf.message import DecodeError, Message
from sqlalchemy import text

from services.shared.errors import DomainError, InternalError, ValidationFailed
from services.shared.events import declared_events
from services.shared.retention import Retention
from services.shared.validation import validate
from services.shared.verdicts import is_verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.db import Database

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)
E = TypeVar("E")

CREATE_TABLE = """
CREATE TABLE received_events (
    id uuid PRIMARY KEY,
    receive_time timestamptz NOT NULL DEFAULT now()
);
"""
"""For a migration of a service that subscribes to events."""
CREATE_INDEX = "CREATE INDEX received_events_receive_time_idx ON received_events (receive_time);"
"""What retention reads."""

RECEIVE = text("INSERT INTO received_events (id) VALUES (:id) ON CONFLICT DO NOTHING RETURNING id")


def retention(keep: timedelta) -> Retention:
    """Return the retention of received events: one that is delivered again later is handled again."""
    return Retention("received_events", "receive_time", keep)


@dataclass(frozen=True, slots=True)
class Subscription(Generic[M, E]):
    """How one type of event is handled: its message, the dataclass made of it, and the method that takes that."""

    message: type[M]
    decode: Callable[[M], E]
    handle: Callable[[AsyncConnection, E], Awaitable[None]]
    """Runs in the transaction that marks the event as received. A DomainError refuses the event: for good if it is a
    verdict on it, else until a later delivery."""


class Inbox:
    """Receives the events to which one service subscribes. Raises ValueError for subscriptions the contract lacks."""

    def __init__(self, service: str, database: Database, subscriptions: Sequence[Subscription[Any, Any]]) -> None:
        self._database = database
        self._subscriptions = {
            subscription.message.DESCRIPTOR.full_name: subscription for subscription in subscriptions
        }
        declared = {event.name: event.publisher for event in declared_events() if service in event.subscribers}
        if declared.keys() != self._subscriptions.keys():
            wrong = ", ".join(sorted(declared.keys() ^ self._subscriptions.keys()))
            raise ValueError(f"{service}: the contract's subscriptions and the inbox's handlers differ in {wrong}")
        self._publishers = declared

    async def receive(self, publisher: str, events: Iterable[event_pb2.Event]) -> list[event_pb2.Result]:
        """Handle the events of a publishing service, by its mesh identity; return a result for each.

        An event that was received before is accepted without effect.
        """
        return [event_pb2.Result(id=event.id, refusal=await self._receive(publisher, event)) for event in events]

    async def _receive(self, publisher: str, event: event_pb2.Event) -> event_pb2.Refusal | None:
        kind = event.what.TypeName()
        details = {"event": event.id, "type": kind, "publisher": publisher}
        if kind.split(".")[1:2] != [publisher]:
            logger.error("event refused: its type is not the publisher's", extra=details)
            return event_pb2.Refusal(reason="EVENT_PUBLISHER_NOT_ALLOWED")
        subscription = self._subscriptions.get(kind)
        if subscription is None:
            # A publisher of a newer version; this service knows the type after its own update.
            return event_pb2.Refusal(reason="EVENT_TYPE_UNKNOWN", retryable=True)
        try:
            message = subscription.message.FromString(event.what.value)
            validate(message)
        except (DecodeError, ValidationFailed) as error:
            logger.error("event refused: it is invalid", extra=details | {"error": str(error)})  # noqa: TRY400
            return event_pb2.Refusal(reason="EVENT_INVALID")
        try:
            await self._handle(event.id, subscription, message)
        except DomainError as error:
            logger.warning("event refused", extra=details | {"reason": error.reason})
            return event_pb2.Refusal(reason=error.reason, retryable=not is_verdict(error))
        except Exception:
            logger.exception("event handler failed", extra=details)
            return event_pb2.Refusal(reason=InternalError.reason, retryable=True)
        return None

    async def _handle(self, event_id: str, subscription: Subscription[Any, Any], message: Message) -> None:
        async def work(connection: AsyncConnection) -> None:
            received = await connection.execute(RECEIVE, {"id": event_id})
            if received.first() is not None:
                await subscription.handle(connection, subscription.decode(message))

        await self._database.transaction(work)
