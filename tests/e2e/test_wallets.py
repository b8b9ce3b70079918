"""Wallets over the real mesh: registering opens one, and administrators freeze and close it over JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.waiting import eventually

if TYPE_CHECKING:
    import httpx

    from tests.support.people import People


async def test_registering_opens_a_wallet_that_administrators_close(http: httpx.AsyncClient, people: People) -> None:
    student, admin = await people.student(), await people.admin()
    wallet: dict[str, Any] = {}

    async def opened() -> bool:
        wallet.update((await http.get("/v1/wallet", headers=student)).json()["wallet"])
        return bool(wallet["id"])

    await eventually(opened, within_seconds=30)
    path = f"/v1/wallets/{wallet['id']}"
    assert (await http.get(path, headers=student)).json()["wallet"]["state"] == "WALLET_STATE_ACTIVE"
    assert (await http.post(f"{path}:freeze", headers=student, json={"reason": "x"})).status_code == 403
    frozen = await http.post(f"{path}:freeze", headers=admin, json={"reason": "a complaint", "etag": wallet["etag"]})
    assert frozen.json()["wallet"]["lastStateChange"]["reason"] == "a complaint"
    payment = {"type": "PAYMENT_TYPE_DONATION", "amount": {"minorUnits": "1", "currency": "AZR"}}
    refused = await http.post("/v1/payments", headers=student, json=payment)
    assert (refused.status_code, refused.json()["details"][0]["reason"]) == (400, "WALLET_FROZEN")
    closed = await http.post(f"{path}:close", headers=admin, json={"reason": "she left"})
    assert closed.json()["wallet"]["state"] == "WALLET_STATE_CLOSED"
    unfrozen = await http.post(f"{path}:unfreeze", headers=admin, json={"reason": "regret"})
    assert unfrozen.json()["details"][0]["reason"] == "WALLET_CLOSED"
    past = await http.get("/v1/wallet", headers=student, params={"readTime": "2026-01-01T00:00:00Z"})
    assert past.json()["wallet"]["id"] == ""
    assert past.json()["wallet"]["balances"] == wallet["balances"]
    late = await http.get("/v1/wallet", headers=student, params={"readTime": "2999-01-01T00:00:00Z"})
    assert (late.status_code, late.json()["details"][0]["reason"]) == (400, "READ_TIME_TOO_RECENT")
