"""`azora events` on a service's database: what is dead is listed, and delivered once it is retried."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from azora.event.v1 import event_pb2

from services.cli import __main__ as cli
from services.payment.app import EVENTS
from services.payment.payments.model import PaymentRefunded
from services.shared.db import Database
from services.shared.ids import new_id
from services.shared.outbox import Delivery, Outbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.postgres import Clone


@dataclass(slots=True)
class Subscriber:
    """Refuses for good until it is mended."""

    refuses: bool = True
    taken: list[str] = field(default_factory=list)

    async def send(self, _: str, events: Sequence[event_pb2.Event]) -> Sequence[event_pb2.Result]:
        if self.refuses:
            return [event_pb2.Result(id=event.id, refusal=event_pb2.Refusal(reason="NO")) for event in events]
        self.taken += [event.id for event in events]
        return [event_pb2.Result(id=event.id) for event in events]


async def _run(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        await asyncio.to_thread(cli.main, arguments)
    return ended.value.code


async def test_dead_events_are_listed_and_retried(
    payment_database: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AZORA_DATABASE_URL", payment_database.app_url)
    database, subscriber = Database(payment_database.app_url), Subscriber()
    outbox = Outbox("payment", EVENTS)
    delivery = Delivery(database, "education", outbox.wakes["education"], subscriber.send)
    try:
        events = [PaymentRefunded(new_id(), in_full=True) for _ in range(2)]
        await database.transaction(lambda connection: outbox.publish(connection, *events))
        assert await delivery.deliver_once() == 2

        assert await _run("events", "list") == 0
        listed = capsys.readouterr().out
        one, two = re.findall(r"event +(\S+) +azora.payment.v1.PaymentRefunded +education +1 +NO", listed)
        assert "2 dead letters; 0 events and 0 jobs waiting" in listed

        subscriber.refuses = False
        assert await delivery.deliver_once() == 0
        assert await _run("events", "retry", "--id", one, "--id", "unknown") == 1
        assert "no dead letter has the id unknown" in capsys.readouterr().err
        assert await delivery.deliver_once() == 1
        assert await _run("events", "retry", "--all") == 0
        assert await delivery.deliver_once() == 1
        assert subscriber.taken == [one, two]

        assert await _run("events", "list") == 0
        assert "0 dead letters; 0 events and 0 jobs waiting" in capsys.readouterr().out
    finally:
        await database.close()
