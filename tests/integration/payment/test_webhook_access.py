"""Who may do what with webhooks: every method, for every kind of caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azora.payment.v1 import webhook_pb2, webhook_service_pb2
from azora.payment.v1 import webhook_service_pb2 as pb

from services.shared.ids import new_id
from tests.support.payment import EDUCATION, RunningPayment
from tests.support.refusals import outcome
from tests.support.webhooks import Hook, hook, publish, stub

if TYPE_CHECKING:
    from azora.client import Metadata

pytestmark = pytest.mark.shared

URL = "https://receiver.invalid/azora"
OF_ONE = ("GetWebhook", "UpdateWebhook", "EnableWebhook", "DisableWebhook", "RotateWebhookSecret")
DELIVERIES = ("ListWebhookDeliveries", "RedeliverWebhookDelivery")
OF_ONESELF = ("CreateWebhook", "ListWebhooks", "ListWebhookEventTypes")
METHODS = (*OF_ONESELF, *OF_ONE, *DELIVERIES, "DeleteWebhook")


def _requests(webhook_id: str, delivery_id: str) -> dict[str, Any]:
    return {
        "CreateWebhook": pb.CreateWebhookRequest(url=URL),
        "ListWebhooks": pb.ListWebhooksRequest(),
        "ListWebhookEventTypes": pb.ListWebhookEventTypesRequest(),
        "GetWebhook": pb.GetWebhookRequest(webhook_id=webhook_id),
        "UpdateWebhook": pb.UpdateWebhookRequest(webhook_id=webhook_id, webhook=webhook_pb2.Webhook(url=URL)),
        "DeleteWebhook": pb.DeleteWebhookRequest(webhook_id=webhook_id),
        "EnableWebhook": pb.EnableWebhookRequest(webhook_id=webhook_id),
        "DisableWebhook": pb.DisableWebhookRequest(webhook_id=webhook_id),
        "RotateWebhookSecret": pb.RotateWebhookSecretRequest(webhook_id=webhook_id),
        "ListWebhookDeliveries": pb.ListWebhookDeliveriesRequest(webhook_id=webhook_id),
        "RedeliverWebhookDelivery": pb.RedeliverWebhookDeliveryRequest(webhook_id=webhook_id, delivery_id=delivery_id),
    }


async def _call(payment: RunningPayment, method: str, metadata: Metadata, mine: Hook, delivery_id: str) -> str:
    call: Any = getattr(stub(payment), method)
    return await outcome(call(_requests(mine.id, delivery_id)[method], metadata=metadata))


async def _mine(payment: RunningPayment, **arguments: Any) -> tuple[Hook, str]:
    """Return a webhook with a delivery that has been given up."""
    owner = payment.admin() if arguments else payment.person()
    mine = await hook(payment, owner, URL, **arguments)
    await payment.sql("UPDATE webhooks SET pause_expire_time = 'infinity'")
    await publish(payment.replica, owner.id)
    return mine, (await mine.delivered("PENDING")).id


def test_the_matrix_has_every_method() -> None:
    declared = webhook_service_pb2.DESCRIPTOR.services_by_name["WebhookService"].methods_by_name
    assert set(METHODS) == set(declared)


@pytest.mark.parametrize("method", METHODS)
async def test_callers_that_are_not_signed_in_and_services_are_refused(payment: RunningPayment, method: str) -> None:
    mine, delivery_id = await _mine(payment)
    assert await _call(payment, method, (), mine, delivery_id) == "TOKEN_MISSING"
    assert await _call(payment, method, EDUCATION, mine, delivery_id) == "ACCESS_DENIED"


@pytest.mark.parametrize("method", METHODS)
async def test_owners_and_administrators_may_and_to_others_there_is_nothing(
    payment: RunningPayment, method: str
) -> None:
    mine, delivery_id = await _mine(payment)
    expected = "OK" if method in OF_ONESELF else "WEBHOOK_NOT_FOUND"
    for role in ("ROLE_STUDENT", "ROLE_EDUCATOR"):
        stranger = payment.person(role)
        assert await _call(payment, method, stranger.metadata, mine, delivery_id) == expected
    assert (await mine.read()).update_time == (await mine.read()).create_time, "nothing has changed"
    assert await _call(payment, method, mine.owner.metadata, mine, delivery_id) == "OK"
    other, other_delivery_id = await _mine(payment)
    assert await _call(payment, method, payment.admin().metadata, other, other_delivery_id) == "OK"


@pytest.mark.parametrize("method", [*OF_ONE, *DELIVERIES, "DeleteWebhook"])
async def test_webhooks_of_the_platform_are_the_administrators(payment: RunningPayment, method: str) -> None:
    platform, delivery_id = await _mine(payment, all_users=True)
    for role in ("ROLE_STUDENT", "ROLE_EDUCATOR"):
        stranger = payment.person(role)
        assert await _call(payment, method, stranger.metadata, platform, delivery_id) == "WEBHOOK_NOT_FOUND"
    assert await _call(payment, method, payment.admin().metadata, platform, delivery_id) == "OK"


async def test_only_administrators_make_and_list_webhooks_of_the_platform(payment: RunningPayment) -> None:
    for role in ("ROLE_STUDENT", "ROLE_EDUCATOR"):
        person = payment.person(role)
        assert await outcome(hook(payment, person, URL, all_users=True)) == "ALL_USERS_NOT_ALLOWED"
        listing = stub(payment).ListWebhooks(pb.ListWebhooksRequest(all_users=True), metadata=person.metadata)
        assert await outcome(listing) == "ALL_USERS_NOT_ALLOWED"
    assert await outcome(hook(payment, payment.admin(), URL, all_users=True)) == "OK"


async def test_what_does_not_exist_is_answered_like_what_is_not_theirs(payment: RunningPayment) -> None:
    owner = payment.person()
    mine = await hook(payment, owner, URL)
    nobody = Hook(new_id(), "", owner, payment)
    for method in (*OF_ONE, *DELIVERIES, "DeleteWebhook"):
        assert await _call(payment, method, owner.metadata, nobody, new_id()) == "WEBHOOK_NOT_FOUND"
    assert (await mine.read()).id == mine.id
