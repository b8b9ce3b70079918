"""Webhooks over JSON, through the real Envoy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

    from tests.support.people import People

URL = "https://receiver.invalid/azora"


async def test_a_webhook_from_creation_to_deletion(http: httpx.AsyncClient, people: People) -> None:
    student, other = await people.student(), await people.student()
    types = (await http.get("/v1/webhookEventTypes", headers=student)).json()["eventTypes"]
    assert {"type": "payment.refunded", "message": "azora.payment.v1.PaymentRefunded"} in types

    body = {"url": URL, "eventTypes": ["payment.refunded"]}
    created = (await http.post("/v1/webhooks", json=body, headers=student)).json()
    assert created["secret"].startswith("whsec_")
    webhook = created["webhook"]
    assert (webhook["url"], webhook["state"]) == (URL, "WEBHOOK_STATE_ENABLED")
    path = f"/v1/webhooks/{webhook['id']}"

    listed = (await http.get("/v1/webhooks", headers=student)).json()
    assert (listed["webhooks"], listed["nextPageToken"]) == ([webhook], "")
    changed = await http.patch(
        path, json={"description": "Books"}, params={"updateMask": "description"}, headers=student
    )
    assert changed.json()["webhook"]["description"] == "Books"
    rotated = await http.post(f"{path}:rotateSecret", json={"previousSecretLifetime": "60s"}, headers=student)
    assert rotated.json()["secret"] != created["secret"]
    disabled = await http.post(f"{path}:disable", json={}, headers=student)
    assert disabled.json()["webhook"]["disableReason"] == "WEBHOOK_DISABLE_REASON_REQUESTED"
    assert (await http.post(f"{path}:enable", json={}, headers=student)).json()["webhook"]["state"] == webhook["state"]
    deliveries = await http.get(
        f"{path}/deliveries", params={"state": "WEBHOOK_DELIVERY_STATE_FAILED"}, headers=student
    )
    assert deliveries.json()["deliveries"] == []

    for foreign in (await http.get(path, headers=other), await http.delete(path, headers=other)):
        assert foreign.status_code == 404
        assert foreign.json()["details"][0]["reason"] == "WEBHOOK_NOT_FOUND"
    inside = await http.post("/v1/webhooks", json={"url": "https://169.254.169.254/"}, headers=student)
    assert inside.status_code == 400
    assert inside.json()["details"][0]["reason"] == "WEBHOOK_URL_INVALID"
    assert (await http.delete(path, headers=student)).json() == {}
    assert (await http.get(path, headers=student)).status_code == 404
