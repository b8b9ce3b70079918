"""Recovering an account over JSON, with the mails of the development system."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from tests.support.people import PASSWORD

if TYPE_CHECKING:
    import httpx

    from tests.support.people import People

NEW_PASSWORD = "a shorter walk to the library"


async def test_a_person_verifies_changes_and_recovers(http: httpx.AsyncClient, people: People) -> None:
    before, after = [f"{uuid4()}@azora.world" for _ in range(2)]

    async def linked(address: str, kind: str) -> dict[str, str]:
        return {"token": await people.link_token(address, kind)}

    async def effect(address: str, kind: str) -> str:
        answer = await http.post("/v1/auth/email:verify", json=await linked(address, kind))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["effect"])

    person = {"email": before, "password": PASSWORD, "name": "Thandi Test"}
    session = (await http.post("/v1/auth/register", json=person)).json()
    token = {"authorization": f"Bearer {session['accessToken']}"}
    assert (await http.post("/v1/auth/email:requestVerification", headers=token, json={})).json() == {}
    assert await effect(before, "email_verification") == "EMAIL_LINK_EFFECT_VERIFIED"
    assert (await http.get("/v1/auth/profile", headers=token)).json()["user"]["emailVerified"] is True
    change = {"email": after, "password": PASSWORD}
    assert (await http.post("/v1/auth/email:change", headers=token, json=change)).json() == {}
    assert await effect(after, "email_change") == "EMAIL_LINK_EFFECT_CHANGED"
    assert await effect(before, "email_changed") == "EMAIL_LINK_EFFECT_RESTORED"
    assert (await http.post("/v1/auth/password:requestReset", json={"email": before})).json() == {}
    reset = await linked(before, "password_reset") | {"newPassword": NEW_PASSWORD}
    assert (await http.post("/v1/auth/password:reset", json=reset)).json() == {}
    again = await http.post("/v1/auth/password:reset", json=reset)
    assert (again.status_code, again.json()["details"][0]["reason"]) == (400, "LINK_INVALID")
    login = await http.post("/v1/auth/login", json={"email": before, "password": NEW_PASSWORD})
    token = {"authorization": f"Bearer {login.json()['accessToken']}"}
    passwords = {"currentPassword": NEW_PASSWORD, "newPassword": PASSWORD}
    assert (await http.post("/v1/auth/password:change", headers=token, json=passwords)).json() == {}
    refused = await http.post("/v1/auth/password:change", headers=token, json=passwords)
    assert (refused.status_code, refused.json()["details"][0]["reason"]) == (403, "CONFIRMATION_INVALID")
