"""Webhooks: created, read, changed and deleted by their owners."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from azora.payment.v1 import webhook_pb2
from azora.payment.v1 import webhook_service_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import text

from services.payment.webhooks.jobs import retentions
from services.payment.webhooks.model import Occurrence
from services.payment.webhooks.store import CLAIM, LIST_DELIVERIES, LIST_DELIVERIES_IN_STATE, LIST_OF_USER
from services.shared.db import ID_MAX
from services.shared.ids import new_id
from services.shared.migrations import upgrade
from services.shared.retention import expire
from tests.support.payment import RunningPayment, running_payment
from tests.support.plans import explain
from tests.support.refusals import outcome, refusal
from tests.support.webhooks import hook, stub

if TYPE_CHECKING:
    from tests.support.postgres import Databases

pytestmark = pytest.mark.shared

URL = "https://receiver.invalid/azora"
MANY = """
INSERT INTO webhooks (id, user_id, url, description, event_types, state, secret_sealed)
    SELECT uuidv7(), CASE n % 400 WHEN 0 THEN $1::uuid ELSE gen_random_uuid() END, '', '', '{}', 'ENABLED', ''
    FROM generate_series(1, 4000) AS n
"""
MANY_DELIVERIES = """
INSERT INTO webhook_deliveries (id, webhook_id, event_id, event_type, payload, occur_time, state)
    SELECT uuidv7(), $1, gen_random_uuid(), 't', '{}', now(), CASE n % 100 WHEN 0 THEN 'FAILED' ELSE 'DELIVERED' END
    FROM generate_series(1, 5000) AS n
"""
LATER_DELIVERIES = """
INSERT INTO webhook_deliveries (id, webhook_id, event_id, event_type, payload, occur_time, attempt_time)
    SELECT uuidv7(), id, gen_random_uuid(), 't', '{}', now(), now() + interval '1 hour' FROM webhooks
"""


async def test_the_secret_is_shown_once_and_encrypted_at_rest(payment: RunningPayment) -> None:
    person = payment.person()
    request = pb.CreateWebhookRequest(url=URL, event_types=["payment.refunded"], description="Mine")
    created = await stub(payment).CreateWebhook(request, metadata=person.metadata)

    webhook = created.webhook
    assert (webhook.url, webhook.user_id, webhook.description) == (URL, person.id, "Mine")
    assert (webhook.state, list(webhook.event_types)) == (webhook_pb2.WEBHOOK_STATE_ENABLED, ["payment.refunded"])
    assert not webhook.HasField("previous_secret_expire_time")
    secret = base64.b64decode(created.secret.removeprefix("whsec_"))
    assert len(secret) == 32
    read = await stub(payment).GetWebhook(pb.GetWebhookRequest(webhook_id=webhook.id), metadata=person.metadata)
    assert read.webhook == webhook
    (row,) = await payment.sql("SELECT to_jsonb(webhooks)::text AS text, secret_sealed FROM webhooks")
    assert created.secret not in row["text"]
    assert secret not in row["secret_sealed"]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://0.0.0.0/",
        "https://2130706433/",
        "https://169.254.169.254/latest/meta-data",
        "https://user:password@example.com/",
        "https://example.com/#x",
        "javascript:alert(1)",
    ],
)
async def test_urls_that_lead_inside_are_refused(payment: RunningPayment, url: str) -> None:
    refused = await refusal(hook(payment, payment.person(), url))
    assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "WEBHOOK_URL_INVALID", ("url",))
    mine = await hook(payment, payment.person(), URL)
    change = pb.UpdateWebhookRequest(webhook_id=mine.id, webhook=webhook_pb2.Webhook(url=url))
    assert (await outcome(stub(payment).UpdateWebhook(change, metadata=mine.owner.metadata))) == "WEBHOOK_URL_INVALID"
    assert (await mine.read()).url == URL


async def test_the_types_are_those_of_the_contract(payment: RunningPayment) -> None:
    person = payment.person()
    types = await stub(payment).ListWebhookEventTypes(pb.ListWebhookEventTypesRequest(), metadata=person.metadata)
    assert {found.type: found.message for found in types.event_types} == {
        "payment.completed": "azora.payment.v1.PaymentCompleted",
        "payment.refunded": "azora.payment.v1.PaymentRefunded",
        "transfer.completed": "azora.payment.v1.TransferCompleted",
        "wallet.state_changed": "azora.payment.v1.WalletStateChanged",
    }
    unknown = await refusal(hook(payment, person, URL, event_types=["payment.refunded", "payment.lost"]))
    assert (unknown.code, unknown.reason) == ("INVALID_ARGUMENT", "WEBHOOK_EVENT_TYPE_UNKNOWN")
    assert unknown.metadata == {"eventType": "payment.lost"}


async def test_an_owner_has_at_most_ten_however_many_are_created_at_once(payment: RunningPayment) -> None:
    person, admin = payment.person(), payment.admin()
    outcomes = Counter(await asyncio.gather(*(outcome(hook(payment, person, URL)) for _ in range(14))))
    assert outcomes == {"OK": 10, "WEBHOOK_LIMIT_REACHED": 4}
    assert (await refusal(hook(payment, person, URL))).metadata == {"maxWebhooks": "10"}
    for _ in range(10):
        await hook(payment, admin, URL, all_users=True)
    assert await outcome(hook(payment, payment.admin(), URL, all_users=True)) == "WEBHOOK_LIMIT_REACHED"
    one = await hook(payment, admin, URL)
    await one.delete()
    assert await outcome(hook(payment, admin, URL)) == "OK"


@pytest.mark.own
async def test_they_are_listed_by_owner_newest_first(payment: RunningPayment) -> None:
    person, admin = payment.person(), payment.admin()
    mine = [await hook(payment, person, f"{URL}/{number}") for number in range(3)]
    platform = await hook(payment, admin, URL, all_users=True)

    first = await stub(payment).ListWebhooks(pb.ListWebhooksRequest(page_size=2), metadata=person.metadata)
    rest = pb.ListWebhooksRequest(page_size=2, page_token=first.next_page_token)
    second = await stub(payment).ListWebhooks(rest, metadata=person.metadata)
    listed = [*first.webhooks, *second.webhooks]
    assert [webhook.id for webhook in listed] == [each.id for each in reversed(mine)]
    assert second.next_page_token == ""
    assert await outcome(stub(payment).ListWebhooks(rest, metadata=payment.person().metadata)) == "PAGE_TOKEN_INVALID"

    all_there_are = pb.ListWebhooksRequest(all_users=True)
    everything = await stub(payment).ListWebhooks(all_there_are, metadata=admin.metadata)
    assert [webhook.id for webhook in everything.webhooks] == [platform.id, *(webhook.id for webhook in listed)]
    assert everything.webhooks[0].user_id == ""
    assert await outcome(stub(payment).ListWebhooks(all_there_are, metadata=person.metadata)) == "ALL_USERS_NOT_ALLOWED"


async def test_a_change_takes_what_the_mask_names_or_what_is_there(payment: RunningPayment) -> None:
    mine = await hook(payment, payment.person(), URL, event_types=["payment.refunded"], description="Mine")

    async def change(webhook: webhook_pb2.Webhook, *mask: str) -> webhook_pb2.Webhook:
        request = pb.UpdateWebhookRequest(webhook_id=mine.id, webhook=webhook, update_mask=FieldMask(paths=mask))
        return (await stub(payment).UpdateWebhook(request, metadata=mine.owner.metadata)).webhook

    before = await mine.read()
    moved = await change(webhook_pb2.Webhook(url=f"{URL}/2"))
    assert (moved.url, moved.description, list(moved.event_types)) == (f"{URL}/2", "Mine", ["payment.refunded"])
    assert moved.update_time.ToDatetime() > before.update_time.ToDatetime()
    emptied = await change(webhook_pb2.Webhook(url="ignored"), "event_types", "description")
    assert (emptied.url, emptied.description, list(emptied.event_types)) == (f"{URL}/2", "", [])
    for path in ("state", "user_id", "secret"):
        refused = await refusal(change(webhook_pb2.Webhook(), path))
        assert (refused.reason, refused.metadata) == ("UPDATE_MASK_INVALID", {"path": path})
    assert await outcome(change(webhook_pb2.Webhook(event_types=["?"]))) == "WEBHOOK_EVENT_TYPE_UNKNOWN"


@pytest.mark.own
async def test_a_webhook_is_disabled_enabled_and_deleted(payment: RunningPayment) -> None:
    mine = await hook(payment, payment.person(), URL)
    await mine.disable()
    await mine.disable()
    disabled = await mine.read()
    assert disabled.state == webhook_pb2.WEBHOOK_STATE_DISABLED
    assert disabled.disable_reason == webhook_pb2.WEBHOOK_DISABLE_REASON_REQUESTED
    await mine.enable()
    enabled = await mine.read()
    assert (enabled.state, enabled.disable_reason) == (webhook_pb2.WEBHOOK_STATE_ENABLED, 0)
    await mine.delete()
    await mine.delete()
    for call in (mine.read(), mine.enable(), mine.disable(), mine.deliveries(), mine.rotate()):
        refused = await refusal(call)
        assert (refused.code, refused.reason) == ("NOT_FOUND", "WEBHOOK_NOT_FOUND")
    (row,) = await payment.sql("SELECT secret_sealed FROM webhooks")
    assert row["secret_sealed"] == b""
    await payment.replica.webhooks.deliveries.purge()
    assert await payment.sql("SELECT FROM webhooks") == []


@pytest.mark.own
async def test_a_webhook_takes_the_types_that_it_names_or_all(payment: RunningPayment) -> None:
    person, admin = payment.person(), payment.admin()
    named = {"event_types": ["payment.refunded"]}
    expected = {
        (await hook(payment, person, URL)).id: 2,
        (await hook(payment, person, URL, **named)).id: 1,
        (await hook(payment, admin, URL, all_users=True)).id: 3,
        (await hook(payment, admin, URL, all_users=True, **named)).id: 2,
        (await hook(payment, payment.person(), URL)).id: 0,
    }
    await payment.sql("UPDATE webhooks SET pause_expire_time = 'infinity'")
    events = [
        Occurrence(new_id(), kind, datetime.now(UTC), users, b"{}")
        for kind, users in (
            ("payment.refunded", (person.id, new_id())),
            ("payment.lost", (new_id(), person.id)),
            ("payment.refunded", ()),
        )
    ]
    await payment.replica.webhooks.deliveries.take(events=events)
    rows = await payment.sql("SELECT webhook_id::text FROM webhook_deliveries")
    counted = Counter(row["webhook_id"] for row in rows)
    assert {webhook_id: counted[webhook_id] for webhook_id in expected} == expected


async def test_deliveries_are_kept_for_as_long_as_is_set(payment: RunningPayment) -> None:
    mine = await hook(payment, payment.person(), URL)
    await payment.sql(MANY_DELIVERIES, mine.id)
    await payment.sql("UPDATE webhook_deliveries SET create_time = now() - interval '8 days' WHERE state = 'FAILED'")
    (retention,) = retentions(timedelta(days=7))
    assert await expire(payment.replica.infrastructure.database, retention) == 50
    assert {row["state"] for row in await payment.sql("SELECT state FROM webhook_deliveries")} == {"DELIVERED"}


async def test_a_page_reads_no_more_than_it_shows(payment: RunningPayment) -> None:
    person = payment.person()
    mine = await hook(payment, person, URL)
    await payment.sql(MANY, person.id)
    await payment.sql(MANY_DELIVERIES, mine.id)
    page = {"before": ID_MAX, "count": 21}
    for statement, values in (
        (LIST_OF_USER, {"user_id": person.id}),
        (LIST_DELIVERIES, {"webhook_id": mine.id}),
        (LIST_DELIVERIES_IN_STATE, {"webhook_id": mine.id, "of_state": "FAILED"}),
    ):
        plan = await explain(payment.owner_url, statement, values | page)
        assert plan.rows_read <= 21
        assert not plan.sorts or statement is LIST_OF_USER, "an owner has few"


async def test_a_claim_reads_what_it_takes(payment: RunningPayment) -> None:
    """Neither a backlog, nor webhooks without deliveries, nor those whose deliveries are due later."""
    mine = await hook(payment, payment.person(), URL)
    await payment.sql(MANY, mine.owner.id)
    await payment.sql("UPDATE webhooks SET pause_expire_time = 'infinity' WHERE id = $1::uuid", mine.id)
    await payment.sql(MANY_DELIVERIES.replace("'DELIVERED'", "'PENDING'"), mine.id)
    await payment.sql(LATER_DELIVERIES)
    claim = text(f"WITH claimed AS ({CLAIM.text}) SELECT FROM claimed")
    plan = await explain(payment.owner_url, claim, {"lease": timedelta(0), "count": 32})
    assert plan.rows_read <= 32


async def test_the_schema_of_the_version_before_takes_webhooks(databases: Databases) -> None:
    async with databases.old("payment", "0020") as clone:
        await upgrade("payment", clone.owner_url)
        async with running_payment(clone.app_url, clone.owner_url) as payment:
            assert (await (await hook(payment, payment.person(), URL)).read()).url == URL
