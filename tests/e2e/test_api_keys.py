"""API keys over JSON, through the real Envoy and all services: exchange, scopes, introspection, and their end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.support.people import PASSWORD
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import httpx

    from tests.support.people import People

READS = {"auth": "/v1/auth/profile", "education": "/v1/enrollments", "payment": "/v1/transactions"}
"""A read of each service."""
SEEN_SECONDS = 5.0


async def test_an_api_key_from_creation_to_its_end_everywhere(http: httpx.AsyncClient, people: People) -> None:
    account = {"email": f"{uuid4()}@example.com", "password": PASSWORD, "name": "Keeper"}
    signed_in = (await http.post("/v1/auth/register", json=account)).json()
    owner = {"authorization": f"Bearer {signed_in['accessToken']}"}
    scopes = [f"{service}.read" for service in READS]
    discovery = (await http.get("/.well-known/openid-configuration")).json()
    assert set(scopes) < set(discovery["scopes_supported"])

    body = {"name": "Nightly report", "scopes": scopes, "password": PASSWORD}
    created = (await http.post("/v1/auth/apiKeys", json=body, headers=owner)).json()
    api_key, key = created["apiKey"], created["key"]
    assert key.startswith(f"{api_key['prefix']}_")
    exchanged = (await http.post("/v1/auth/apiKeys:exchange", json={"key": key})).json()
    assert (exchanged["expiresIn"], exchanged["scopes"]) == (900, scopes)
    program = {"authorization": f"Bearer {exchanged['accessToken']}"}

    for path in READS.values():
        assert (await http.get(path, headers=program)).status_code == 200, path
    assert await refused(http.get("/v1/auth/profile", headers={"authorization": f"Bearer {key}"})) == "TOKEN_INVALID"
    write = http.post("/v1/webhooks", json={"url": "https://receiver.invalid/"}, headers=program)
    assert await refused(write) == "SCOPE_INSUFFICIENT"
    assert await refused(http.get("/v1/auth/apiKeys", headers=program)) == "INTERACTIVE_SIGN_IN_REQUIRED"

    admin = await people.admin()
    found = (await http.post("/oauth2/introspect", data={"token": exchanged["accessToken"]}, headers=admin)).json()
    assert (found["active"], found["scope"], found["sid"]) == (True, " ".join(scopes), api_key["id"])
    assert await refused(http.post("/oauth2/introspect", data={"token": "x"}, headers=owner)) == "ACCESS_DENIED"
    assert (await http.post("/oauth2/revoke", data={"token": "unknown"})).json() == {}

    assert (await http.delete(f"/v1/auth/apiKeys/{api_key['id']}", headers=owner)).json() == {}
    answer = await http.post("/oauth2/introspect", data={"token": exchanged["accessToken"]}, headers=admin)
    assert answer.json() == {"active": False}
    assert await refused(http.post("/v1/auth/apiKeys:exchange", json={"key": key})) == "API_KEY_INVALID"
    for path in READS.values():
        await eventually(partial(is_refused, http, path, program), within_seconds=SEEN_SECONDS)
        assert (await http.get(path, headers=owner)).status_code == 200, "the owner's session goes on"


async def is_refused(http: httpx.AsyncClient, path: str, headers: dict[str, str]) -> bool:
    """Whether a token is known to have ended."""
    answer = await http.get(path, headers=headers)
    return answer.status_code == 401 and answer.json()["details"][0]["reason"] == "TOKEN_INVALID"


async def refused(call: Any) -> str:
    """Return the reason of a refusal."""
    reason: str = (await call).json()["details"][0]["reason"]
    return reason
