"""The outbox: events written in the transaction that they report, then delivered to each subscriber at least once."""

from __future__ import annotations

import asyncio
import importlib
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from azora.event.v1 import event_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from sqlalchemy import text

from services.shared.backoff import MAX_SECONDS, backoff_seconds
from services.shared.errors import DomainError
from services.shared.events import declared_events
from services.shared.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from google.protobuf.message import Message
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.db import Database

Send: TypeAlias = "Callable[[str, Sequence[event_pb2.Event]], Awaitable[Sequence[event_pb2.Result]]]"
"""Delivers events to the subscriber of this name and returns its results. Raises any exception for a failed call."""

OutboxRow: TypeAlias = tuple[str, str, str, bytes]
"""Values of COLUMNS."""
COLUMNS = {"event_id": "uuid", "subscriber": "text", "type": "text", "payload": "bytea"}
"""PostgreSQL types of the columns of a published event, by name."""

logger = logging.getLogger(__name__)

MAX_BATCH = 100
"""Events in one call, as the contract of ReceiveEvents limits them."""
DELIVERY_SECONDS = 5.0
LEASE = timedelta(seconds=30)
"""How long a claimed event is left alone: longer than a delivery, so that replicas do not deliver it twice."""
MAX_AGE = timedelta(days=7)
"""An event that could not be delivered for so long becomes a dead letter."""
MIN_POLL_SECONDS = 0.02
MAX_POLL_SECONDS = 1.0
MAX_UNREACHABLE_SECONDS = 10.0
"""Bound on the backoff while a subscriber does not answer: events arrive soon after it is back."""

CREATE_TABLE = """
CREATE TABLE outbox (
    event_id uuid NOT NULL,
    subscriber text NOT NULL,
    type text NOT NULL,
    payload bytea NOT NULL,
    occur_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts integer NOT NULL DEFAULT 0,
    attempt_time timestamptz NOT NULL DEFAULT now(),
    reason text,
    dead_time timestamptz,
    PRIMARY KEY (event_id, subscriber)
);
CREATE INDEX outbox_due_idx ON outbox (subscriber, attempt_time) WHERE dead_time IS NULL;
CREATE INDEX outbox_dead_idx ON outbox (dead_time) WHERE dead_time IS NOT NULL;
"""
"""For a migration of a service that publishes events. Delivered events leave no row."""

WEBHOOKS = "webhooks"
"""The subscriber of the events that webhooks carry: a consumer within the service that publishes them."""

PUBLISH = text("""
INSERT INTO outbox (event_id, subscriber, type, payload)
SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:subscribers AS text[]), CAST(:types AS text[]),
                     CAST(:payloads AS bytea[]))
""")
CLAIM = text("""
UPDATE outbox SET attempt_time = now() + CAST(:lease AS interval)
WHERE subscriber = :subscriber AND event_id IN (
    SELECT event_id FROM outbox
    WHERE subscriber = :subscriber AND dead_time IS NULL AND attempt_time <= now()
    ORDER BY attempt_time LIMIT :count FOR UPDATE SKIP LOCKED
)
RETURNING event_id, type, payload, occur_time, attempts, now() - occur_time AS age
""")
DELIVERED = text("DELETE FROM outbox WHERE subscriber = :subscriber AND event_id = ANY(CAST(:ids AS uuid[]))")
REFUSED = text("""
UPDATE outbox SET attempts = attempts + 1, reason = refused.reason, attempt_time = now() + refused.delay,
    dead_time = CASE WHEN refused.dead THEN now() END
FROM unnest(CAST(:ids AS uuid[]), CAST(:reasons AS text[]), CAST(:delays AS interval[]), CAST(:deads AS boolean[]))
    AS refused (event_id, reason, delay, dead)
WHERE outbox.subscriber = :subscriber AND outbox.event_id = refused.event_id
""")


class Outbox:
    """Publishes the events of one service.

    `encoders` give the contract's message for each dataclass that operations publish; both bear the event's name.
    Raises ValueError if they are not those of the events that the contract declares for the service. `webhooks` takes
    the events that webhooks carry; without it, none does.
    """

    def __init__(
        self, service: str, encoders: Mapping[type, Callable[[Any], Message]], *, webhooks: Send | None = None
    ) -> None:
        self._encoders = dict(encoders)
        self.webhooks = webhooks
        self._subscribers = {
            event.name: (*event.subscribers, WEBHOOKS) if webhooks and event.webhook else event.subscribers
            for event in declared_events()
            if event.publisher == service
        }
        declared = {name.rpartition(".")[2] for name in self._subscribers}
        differing = declared ^ {kind.__name__ for kind in self._encoders}
        if differing:
            raise ValueError(f"{service}: the contract's events and the encoders differ in {', '.join(differing)}")
        self.wakes = {name: asyncio.Event() for names in self._subscribers.values() for name in names}
        """For each subscriber, set when an event for it was published in this process."""

    async def publish(self, connection: AsyncConnection, *events: object) -> None:
        """Publish events in the connection's open transaction: they are delivered after its commit, or not at all.

        Any number of events is one statement. An event without subscribers writes nothing.
        """
        rows = self.rows(events)
        if not rows:
            return
        ids, subscribers, types, payloads = map(list, zip(*rows, strict=True))
        await connection.execute(
            PUBLISH, {"ids": ids, "subscribers": subscribers, "types": types, "payloads": payloads}
        )
        self.wake(rows)

    def rows(self, events: Iterable[object]) -> list[OutboxRow]:
        """Return the rows that publish events, for an insertion of the caller's own; `wake` follows it."""
        return [
            (event_id, subscriber, message.DESCRIPTOR.full_name, message.SerializeToString())
            for event_id, message in ((new_id(), self._encoders[type(event)](event)) for event in events)
            for subscriber in self._subscribers[message.DESCRIPTOR.full_name]
        ]

    def wake(self, rows: Iterable[OutboxRow]) -> None:
        """Have what was published delivered at once."""
        for subscriber in {row[1] for row in rows}:
            self.wakes[subscriber].set()


@dataclass(frozen=True, slots=True)
class _Claimed:
    """An event that this process delivers now."""

    id: str
    message: event_pb2.Event
    attempts: int
    expired: bool


class Delivery:
    """Delivers one subscriber's events, in batches, for as long as it runs; every replica has one."""

    def __init__(self, database: Database, subscriber: str, wake: asyncio.Event, send: Send) -> None:
        self._database = database
        self._subscriber = subscriber
        self._wake = wake
        self._send = send
        self._batch = MAX_BATCH
        self._failures = 0
        """Failed calls in a row."""

    async def run(self) -> None:
        """Deliver until cancelled: at once what this process publishes, within a second what other replicas left."""
        pause = MIN_POLL_SECONDS
        while True:
            self._wake.clear()
            try:
                claimed = await self._deliver()
            except DomainError as error:
                logger.warning("outbox is not available", extra={"error": error.reason})
                claimed = 0
            if self._failures:
                await asyncio.sleep(backoff_seconds(self._failures, max_seconds=MAX_UNREACHABLE_SECONDS))
            elif claimed < self._batch:
                pause = MIN_POLL_SECONDS if claimed else min(pause * 2, MAX_POLL_SECONDS)
                if await self._woken(pause):
                    # An event was published, and its transaction is about to commit.
                    pause = MIN_POLL_SECONDS
                    await asyncio.sleep(pause)

    async def _deliver(self) -> int:
        """Deliver a batch, and when cancelled finish it: what was taken is forgotten, and so not delivered again."""
        delivery = asyncio.ensure_future(self.deliver_once())
        try:
            return await asyncio.shield(delivery)
        except asyncio.CancelledError:
            await asyncio.gather(delivery, return_exceptions=True)
            raise

    async def _woken(self, pause: float) -> bool:
        try:
            async with asyncio.timeout(pause):  # Not wait_for, which can lose a cancellation before Python 3.12.
                return await self._wake.wait()
        except TimeoutError:
            return False

    async def deliver_once(self) -> int:
        """Deliver one batch of due events; return how many it held. Raises DependencyUnavailable without a database."""
        claimed = await self._database.transaction(self._claim)
        if not claimed:
            return 0
        refused: dict[str, event_pb2.Refusal]
        try:
            async with asyncio.timeout(DELIVERY_SECONDS):
                results = await self._send(self._subscriber, [event.message for event in claimed])
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the events are delivered again
            self._failures += 1
            reason = getattr(error, "reason", type(error).__name__)
            logger.warning(
                "event delivery failed",
                extra={
                    "subscriber": self._subscriber,
                    "attempt": self._failures,
                    "events": len(claimed),
                    "reason": reason,
                    "error": str(error)[:200],
                },
            )
            # If one event makes the whole call fail, smaller batches let the others pass.
            self._batch = max(1, len(claimed) // 2)
            refused = {event.id: event_pb2.Refusal(reason=reason, retryable=True) for event in claimed}
        else:
            self._failures = 0
            self._batch = min(MAX_BATCH, self._batch * 2)
            answers = {result.id: result for result in results}
            missing = event_pb2.Result(refusal=event_pb2.Refusal(reason="NOT_ANSWERED", retryable=True))
            refused = {
                event.id: answer.refusal
                for event in claimed
                if (answer := answers.get(event.id, missing)).HasField("refusal")
            }
            self._log(claimed, refused)
        await self._database.transaction(lambda connection: self._settle(connection, claimed, refused))
        return len(claimed)

    async def _claim(self, connection: AsyncConnection) -> list[_Claimed]:
        due = {"subscriber": self._subscriber, "count": self._batch, "lease": LEASE}
        return [
            _Claimed(
                str(row.event_id),
                _event(str(row.event_id), row.type, row.payload, row.occur_time),
                row.attempts,
                row.age > MAX_AGE,
            )
            for row in await connection.execute(CLAIM, due)
        ]

    async def _settle(
        self, connection: AsyncConnection, claimed: Sequence[_Claimed], refused: Mapping[str, event_pb2.Refusal]
    ) -> None:
        delivered = [event.id for event in claimed if event.id not in refused]
        if delivered:
            await connection.execute(DELIVERED, {"subscriber": self._subscriber, "ids": delivered})
        if refused:
            events = [event for event in claimed if event.id in refused]
            # One failed call may be an event's fault, which is to be in the way of others seldom.
            most = MAX_UNREACHABLE_SECONDS if self._failures > 1 else MAX_SECONDS
            values = {
                "subscriber": self._subscriber,
                "ids": [event.id for event in events],
                "reasons": [refused[event.id].reason for event in events],
                "delays": [
                    timedelta(seconds=backoff_seconds(event.attempts + 1, max_seconds=most)) for event in events
                ],
                "deads": [_dead(event, refused[event.id]) for event in events],
            }
            await connection.execute(REFUSED, values)

    def _log(self, claimed: Sequence[_Claimed], refused: Mapping[str, event_pb2.Refusal]) -> None:
        for event in claimed:
            if event.id in refused:
                dead = _dead(event, refused[event.id])
                logger.log(
                    logging.ERROR if dead else logging.WARNING,
                    "event became a dead letter" if dead else "event was refused; retrying",
                    extra={
                        "subscriber": self._subscriber,
                        "event": event.id,
                        "type": event.message.what.TypeName(),
                        "attempt": event.attempts + 1,
                        "reason": refused[event.id].reason,
                    },
                )


def _dead(event: _Claimed, refusal: event_pb2.Refusal) -> bool:
    return not refusal.retryable or event.expired


def _event(event_id: str, kind: str, payload: bytes, occur_time: datetime) -> event_pb2.Event:
    event = event_pb2.Event(id=event_id, what=AnyMessage(type_url=f"type.googleapis.com/{kind}", value=payload))
    event.occur_time.FromDatetime(occur_time)
    return event


class Channel(Protocol):
    """What delivery needs of a gRPC channel to the mesh."""

    def unary_unary(self, method: str, request_serializer: Any = ..., response_deserializer: Any = ...) -> Any:
        """Return a callable for a unary method."""
        ...


def over_mesh(channel: Channel) -> Send:
    """Return how events are sent to each subscriber's InternalService.ReceiveEvents over the mesh."""

    async def send(subscriber: str, events: Sequence[event_pb2.Event]) -> Sequence[event_pb2.Result]:
        pb = importlib.import_module(f"azora.{subscriber}.v1.internal_service_pb2")
        call = channel.unary_unary(
            f"/azora.{subscriber}.v1.InternalService/ReceiveEvents",
            request_serializer=pb.ReceiveEventsRequest.SerializeToString,
            response_deserializer=pb.ReceiveEventsResponse.FromString,
        )
        response = await call(pb.ReceiveEventsRequest(events=events), timeout=DELIVERY_SECONDS)
        results: Sequence[event_pb2.Result] = response.results
        return results

    return send


def deliveries(database: Database, outbox: Outbox, send: Send) -> list[Callable[[], Any]]:
    """Return the background tasks that drain the outbox, one for each subscriber."""
    sends = {WEBHOOKS: outbox.webhooks} if outbox.webhooks else {}
    return [
        Delivery(database, subscriber, wake, sends.get(subscriber, send)).run
        for subscriber, wake in outbox.wakes.items()
    ]
