"""Events between services: published with their change or not at all, delivered until answered, handled once."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from azora.auth.v1 import events_pb2 as auth_events_pb2
from azora.event.v1 import event_pb2
from azora.payment.v1 import events_pb2
from google.protobuf.wrappers_pb2 import StringValue
from sqlalchemy import text

from services.payment.app import EVENTS
from services.payment.payments.model import PaymentRefunded
from services.shared import outbox as outbox_module
from services.shared.db import Database
from services.shared.dead_letters import backlog
from services.shared.errors import DependencyUnavailable, FailedPrecondition
from services.shared.ids import new_id
from services.shared.inbox import Inbox, Subscription
from services.shared.outbox import Delivery, Outbox
from tests.support.education import event
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.background_work import Backlog
    from tests.support.postgres import Clone

TRY_AGAIN = event_pb2.Refusal(reason="EVENT_TYPE_UNKNOWN", retryable=True)
NEVER = event_pb2.Refusal(reason="EVENT_INVALID")


class Refuted(FailedPrecondition):
    """The event contradicts what is known."""


@dataclass(slots=True)
class Education:
    """Stands in for a subscriber: takes events, or answers as it is told to."""

    refusals: dict[str, list[event_pb2.Refusal]] = field(default_factory=dict)
    """What it answers, in turn, to events about a payment."""
    poison: str = ""
    """A payment at whose events the whole call fails."""
    errors: list[Exception] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)

    async def send(self, _: str, events: Sequence[event_pb2.Event]) -> Sequence[event_pb2.Result]:
        self.batches.append(len(events))
        if self.errors:
            raise self.errors.pop(0)
        payments = [events_pb2.PaymentRefunded.FromString(event.what.value).payment_id for event in events]
        if self.poison in payments:
            raise RuntimeError("one of these")
        return [self._answer(event.id, payment) for event, payment in zip(events, payments, strict=True)]

    def _answer(self, event_id: str, payment: str) -> event_pb2.Result:
        if self.refusals.get(payment):
            return event_pb2.Result(id=event_id, refusal=self.refusals[payment].pop(0))
        self.taken.append(payment)
        return event_pb2.Result(id=event_id)


@dataclass(frozen=True, slots=True)
class Publisher:
    """A service with an outbox that is being drained."""

    database: Database
    outbox: Outbox
    education: Education

    def delivery(self) -> Delivery:
        return Delivery(self.database, "education", self.outbox.wakes["education"], self.education.send)

    async def publish(self, *payments: str, fails: bool = False) -> None:
        async def work(connection: AsyncConnection) -> None:
            events = (PaymentRefunded(payment_id, in_full=True) for payment_id in payments)
            await self.outbox.publish(connection, *events)
            if fails:
                raise Refuted

        await self.database.transaction(work)

    async def backlog(self) -> Backlog:
        async with self.database.reading() as connection:
            return await backlog(connection)

    async def drained(self, within_seconds: float = 15) -> None:
        async def empty() -> bool:
            return (await self.backlog()).drained

        await eventually(empty, within_seconds=within_seconds)


@pytest.fixture
async def publisher(payment_database: Clone) -> AsyncIterator[Publisher]:
    database = Database(payment_database.app_url)
    yield Publisher(database, Outbox("payment", EVENTS), Education())
    await database.close()


@asynccontextmanager
async def draining(publisher: Publisher, replicas: int = 1) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(publisher.delivery().run()) for _ in range(replicas)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_an_event_leaves_with_its_change_or_not_at_all(publisher: Publisher) -> None:
    async with draining(publisher):
        with pytest.raises(Refuted):
            await publisher.publish("undone", fails=True)
        await publisher.publish("done")
        await publisher.drained()
    assert publisher.education.taken == ["done"]


async def test_a_load_is_drained_in_batches_and_once(publisher: Publisher) -> None:
    payments = [f"payment {number}" for number in range(1000)]
    async with draining(publisher, replicas=2):
        for start in range(0, 1000, 250):
            await publisher.publish(*payments[start : start + 250])
        await publisher.drained(within_seconds=5)
    assert sorted(publisher.education.taken) == sorted(payments)
    assert max(publisher.education.batches) == outbox_module.MAX_BATCH


async def test_an_event_that_nobody_subscribes_to_writes_no_row(
    payment_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox("payment", EVENTS)
    monkeypatch.setitem(outbox._subscribers, "azora.payment.v1.PaymentRefunded", ())
    database = Database(payment_database.app_url)
    await database.transaction(lambda connection: outbox.publish(connection, PaymentRefunded("p", in_full=True)))
    async with database.reading() as connection:
        assert (await backlog(connection)).events == 0
    await database.close()


async def test_what_may_be_taken_later_is_retried_and_each_attempt_logged(
    publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.education.errors = [DependencyUnavailable(), ConnectionError()]
    publisher.education.refusals = {"newer": [TRY_AGAIN, TRY_AGAIN]}
    async with draining(publisher):
        await publisher.publish("newer")
        await publisher.drained()
    assert publisher.education.taken == ["newer"]
    logged = [(record.message, record.__dict__["attempt"], record.__dict__["reason"]) for record in caplog.records]
    assert logged == [
        ("event delivery failed", 1, "DEPENDENCY_UNAVAILABLE"),
        ("event delivery failed", 2, "ConnectionError"),
        ("event was refused; retrying", 3, "EVENT_TYPE_UNKNOWN"),
        ("event was refused; retrying", 4, "EVENT_TYPE_UNKNOWN"),
    ]


async def test_what_may_be_taken_later_holds_nobody_up(publisher: Publisher) -> None:
    publisher.education.refusals = {"newer": [TRY_AGAIN, TRY_AGAIN]}
    async with draining(publisher):
        await publisher.publish("newer", "known")
        await publisher.drained()
    assert publisher.education.taken == ["known", "newer"]


async def test_a_refusal_for_good_is_a_dead_letter_and_holds_nobody_up(publisher: Publisher) -> None:
    publisher.education.refusals = {"bad": [NEVER]}
    async with draining(publisher):
        await publisher.publish("bad", "good")
        await publisher.drained()
        await publisher.publish("later")
        await publisher.drained()
    counts = await publisher.backlog()
    assert (counts.events, counts.dead_events) == (0, 1)
    assert publisher.education.taken == ["good", "later"]


async def test_an_event_that_nobody_takes_for_a_week_is_a_dead_letter(
    publisher: Publisher, payment_database: Clone
) -> None:
    publisher.education.refusals = {"old": [TRY_AGAIN]}
    await publisher.publish("old")

    async def age(connection: AsyncConnection) -> None:
        await connection.execute(text("UPDATE outbox SET occur_time = occur_time - interval '8 days'"))

    await publisher.database.transaction(age)
    await publisher.delivery().deliver_once()
    assert (await publisher.backlog()).dead_events == 1


async def test_an_event_at_which_the_call_fails_does_not_keep_the_others(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "backoff_seconds", lambda *_, **__: 0.01)
    publisher.education.poison = "poison"
    async with draining(publisher):
        await publisher.publish("one", "two", "poison", "three")

        async def others() -> bool:
            return sorted(publisher.education.taken) == ["one", "three", "two"]

        await eventually(others)
    assert (await publisher.backlog()).events == 1


async def test_events_are_due_soon_however_long_their_subscriber_is_away(publisher: Publisher) -> None:
    """Each was due a minute after its last attempt, though the subscriber may be back in a second."""
    publisher.education.errors = [DependencyUnavailable(), DependencyUnavailable()]
    await publisher.publish("waiting")

    async def make_due(connection: AsyncConnection) -> None:
        await connection.execute(text("UPDATE outbox SET attempts = 12, attempt_time = now()"))

    delivery = publisher.delivery()
    for _ in range(2):
        await publisher.database.transaction(make_due)
        await delivery.deliver_once()
    async with publisher.database.reading() as connection:
        due = await connection.execute(text("SELECT attempt_time - now() FROM outbox"))
    assert due.scalar_one().total_seconds() <= outbox_module.MAX_UNREACHABLE_SECONDS


async def test_a_database_that_is_away_ends_no_delivery(publisher: Publisher, payment_database: Clone) -> None:
    async with draining(publisher):
        async with payment_database.server.connection("postgres") as connection:
            cut = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
            )
            await connection.execute(cut, payment_database.name)
        await eventually(lambda: _published(publisher))
        await publisher.drained()
    assert "after" in publisher.education.taken


async def _published(publisher: Publisher) -> bool:
    with suppress(DependencyUnavailable):
        await publisher.publish("after")
        return True
    return False


@dataclass(slots=True)
class Handler:
    """Handles Payment's event, and fails as it is told to."""

    handled: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    async def __call__(self, connection: AsyncConnection, message: events_pb2.PaymentRefunded) -> None:
        self.handled.append(message.payment_id)
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture
async def handler() -> Handler:
    return Handler()


@pytest.fixture
async def inbox(education_database: Clone, handler: Handler) -> AsyncIterator[Inbox]:
    database = Database(education_database.app_url)
    subscribed = (events_pb2.PaymentRefunded, auth_events_pb2.UserRenamed)  # By the contract.
    yield Inbox("education", database, [Subscription(kind, lambda message: message, handler) for kind in subscribed])
    await database.close()


def refunded(payment_id: str = "") -> event_pb2.Event:
    return event(events_pb2.PaymentRefunded(payment_id=payment_id or new_id()))


async def _refusals(inbox: Inbox, *events: event_pb2.Event, publisher: str = "payment") -> list[tuple[str, bool]]:
    results = await inbox.receive(publisher, events)
    assert [result.id for result in results] == [event.id for event in events]
    return [(result.refusal.reason, result.refusal.retryable) for result in results]


ACCEPTED = ("", False)


async def test_an_event_is_handled_once(inbox: Inbox, handler: Handler) -> None:
    told = refunded()
    assert await _refusals(inbox, told, told) == [ACCEPTED, ACCEPTED]
    assert await asyncio.gather(*(_refusals(inbox, told) for _ in range(5))) == [[ACCEPTED]] * 5
    assert len(handler.handled) == 1


async def test_each_event_is_answered_on_its_own(inbox: Inbox, handler: Handler) -> None:
    unknown = event(StringValue(value="?"))
    unknown.what.type_url = "type.googleapis.com/azora.payment.v1.PaymentDisputed"
    garbage = refunded()
    garbage.what.value = b"\xff\xff"
    assert await _refusals(inbox, refunded(), unknown, refunded("no uuid"), garbage, refunded()) == [
        ACCEPTED,
        ("EVENT_TYPE_UNKNOWN", True),
        ("EVENT_INVALID", False),
        ("EVENT_INVALID", False),
        ACCEPTED,
    ]
    assert len(handler.handled) == 2


@pytest.mark.parametrize("publisher", ["education", "auth", "", "azora"])
async def test_a_type_is_taken_from_its_owner_only(inbox: Inbox, handler: Handler, publisher: str) -> None:
    refusals = await _refusals(inbox, refunded(), publisher=publisher)
    assert refusals == [("EVENT_PUBLISHER_NOT_ALLOWED", False)]
    assert handler.handled == []


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (Refuted(), ("REFUTED", False)),
        (DependencyUnavailable(), ("DEPENDENCY_UNAVAILABLE", True)),
        (KeyError("a defect"), ("INTERNAL_ERROR", True)),
    ],
)
async def test_a_handler_that_fails_refuses_the_event_and_has_changed_nothing(
    inbox: Inbox, handler: Handler, error: Exception, refusal: tuple[str, bool], caplog: pytest.LogCaptureFixture
) -> None:
    handler.errors = [error]
    level = "ERROR" if isinstance(error, KeyError) else "WARNING"
    told = refunded()
    assert await _refusals(inbox, told) == [refusal]
    assert [record.levelname for record in caplog.records] == [level]
    assert await _refusals(inbox, told) == [ACCEPTED], "it was not marked as received"
    assert len(handler.handled) == 2


async def test_the_contract_decides_what_an_inbox_handles() -> None:
    database: Any = None
    with pytest.raises(ValueError, match="StringValue"):
        Inbox("payment", database, [Subscription(StringValue, str, Handler())])
