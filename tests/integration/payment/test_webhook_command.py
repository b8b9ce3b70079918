"""`azora webhooks` on Payment's database: what was given up is listed, and sent again."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
from azora.payment.v1 import webhook_pb2

from services.cli import __main__ as cli
from services.shared.ids import new_id
from tests.support.webhooks import hook, publish

if TYPE_CHECKING:
    from tests.support.payment import RunningPayment


async def _run(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        await asyncio.to_thread(cli.main, arguments)
    return ended.value.code


async def test_failed_deliveries_are_listed_and_sent_again(
    payment: RunningPayment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AZORA_DATABASE_URL", payment.app_url)
    assert await _run("webhooks", "list") == 0
    assert capsys.readouterr().out == "0 failed deliveries\n"

    person = payment.person()
    mine = await hook(payment, person, "https://receiver.invalid/azora")
    await payment.sql("UPDATE webhooks SET pause_expire_time = 'infinity'")
    await publish(payment.replica, person.id, person.id)
    await mine.delivered("PENDING")
    await payment.sql("UPDATE webhook_deliveries SET state = 'FAILED', failures = 10")

    assert await _run("webhooks", "list") == 0
    listed = capsys.readouterr().out
    one, two = re.findall(rf"(\S+) +{mine.id} +payment.refunded +10 +- ", listed)
    assert listed.endswith("2 failed deliveries\n")

    assert await _run("webhooks", "redeliver", "--id", one, "--id", new_id()) == 1
    told = capsys.readouterr()
    assert (told.out, one in told.err) == ("redelivering 1\n", False)
    assert await _run("webhooks", "redeliver", "--all") == 0
    assert capsys.readouterr().out == "redelivering 1\n"
    assert {delivery.state for delivery in await mine.deliveries()} == {webhook_pb2.WEBHOOK_DELIVERY_STATE_PENDING}
    assert {delivery.id for delivery in await mine.deliveries()} == {one, two}


async def test_a_database_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AZORA_DATABASE_URL", "postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    assert await _run("webhooks", "list") == 1
    assert await _run("webhooks", "redeliver", "--all") == 1
    assert capsys.readouterr().err.count("azora webhooks ") == 2
