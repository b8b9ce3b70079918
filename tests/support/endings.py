"""What ends access tokens, over JSON: each cause of a revocation as a person or an administrator brings it about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

from services.auth.revocations.model import Cause
from tests.support.people import PASSWORD
from tests.support.second_factors import Authenticator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.people import People

    End: TypeAlias = Callable[["Victim"], Awaitable[object]]

OTHER_PASSWORD = "a shorter walk to the library"


@dataclass(frozen=True, slots=True)
class Victim:
    """A person whose second access token is about to end, which is that of an API key where `lost` has a key's id."""

    people: People
    user_id: str
    email: str
    mine: dict[str, Any]
    """The session that stays, where not all end."""
    lost: dict[str, Any]

    async def post(self, path: str, session: dict[str, Any] | None = None, **body: str) -> dict[str, Any]:
        """Call a method with a session."""
        headers = bearer(session or self.mine)
        answer = await self.people.http.post(f"/v1/{path}", headers=headers, json=body)
        assert answer.status_code == 200, (path, answer.text)
        found: dict[str, Any] = answer.json()
        return found

    async def delete(self, path: str) -> None:
        """Call a method of deletion with the session that stays."""
        answer = await self.people.http.delete(f"/v1/{path}", headers=bearer(self.mine))
        assert answer.status_code == 200, (path, answer.text)

    async def administer(self, method: str, verb: str = "", **body: str) -> None:
        """Call a method of UserService as the administrator."""
        path, admin = f"/v1/users/{self.user_id}{verb}", await self.people.admin()
        answer = await self.people.http.request(method, path, headers=admin, json=body if method == "POST" else None)
        assert answer.status_code == 200, (verb, answer.text)


def bearer(session: dict[str, Any]) -> dict[str, str]:
    """Return the header of a session's calls."""
    return {"authorization": f"Bearer {session['accessToken']}"}


async def victim(people: People, cause: Cause) -> Victim:
    """Register a person and sign in a second time, or exchange an API key."""
    email = f"{uuid4()}@azora.world"
    account = {"email": email, "password": PASSWORD, "name": "Thandi Test"}
    mine = (await people.http.post("/v1/auth/register", json=account)).json()
    new = Victim(people, mine["user"]["id"], email, mine, {})
    if cause is not Cause.API_KEY_REVOKED:
        return Victim(people, new.user_id, email, mine, await new.post("auth/login", email=email, password=PASSWORD))
    scopes = ["auth.read", "education.read", "payment.read"]
    body = {"name": "All", "scopes": scopes, "password": PASSWORD}
    made = (await people.http.post("/v1/auth/apiKeys", headers=bearer(mine), json=body)).json()
    exchanged = await new.post("auth/apiKeys:exchange", key=made["key"])
    return Victim(people, new.user_id, email, mine, exchanged | {"id": made["apiKey"]["id"]})


async def _reuse(person: Victim) -> None:
    first = person.lost["refreshToken"]
    second = (await person.post("auth/refresh", refreshToken=first))["refreshToken"]
    await person.post("auth/refresh", refreshToken=second)
    answer = await person.people.http.post("/v1/auth/refresh", json={"refreshToken": first})
    assert answer.status_code == 401, answer.text


async def _reset_password(person: Victim) -> None:
    await person.post("auth/password:requestReset", email=person.email)
    token = await person.people.link_token(person.email, "password_reset")
    await person.post("auth/password:reset", token=token, newPassword=OTHER_PASSWORD)


async def _change_email(person: Victim) -> None:
    email = f"{uuid4()}@azora.world"
    await person.post("auth/email:change", email=email, password=PASSWORD)
    await person.post("auth/email:verify", token=await person.people.link_token(email, "email_change"))


async def _enable_totp(person: Victim) -> None:
    secret = (await person.post("auth/mfa/totp"))["secret"]
    await person.post("auth/mfa/totp:confirm", code=Authenticator(secret).code())


async def _revoke_session(person: Victim) -> None:
    page = await person.people.http.get("/v1/auth/sessions", headers=bearer(person.lost))
    (current,) = [session["id"] for session in page.json()["sessions"] if session["current"]]
    await person.delete(f"auth/sessions/{current}")


ENDS: tuple[tuple[Cause, End], ...] = (
    (Cause.SIGNED_OUT, lambda person: person.post("auth/logout", person.lost)),
    (Cause.REFRESH_TOKEN_REUSED, _reuse),
    (Cause.SESSION_REVOKED, _revoke_session),
    (Cause.SESSIONS_REVOKED, lambda person: person.post("auth/sessions:revokeOthers")),
    (Cause.SESSIONS_REVOKED, lambda person: person.post("auth/sessions:revokeAll")),
    (
        Cause.PASSWORD_CHANGED,
        lambda person: person.post("auth/password:change", currentPassword=PASSWORD, newPassword=OTHER_PASSWORD),
    ),
    (Cause.PASSWORD_RESET, _reset_password),
    (Cause.EMAIL_CHANGED, _change_email),
    (Cause.MFA_CHANGED, _enable_totp),
    (Cause.ROLE_CHANGED, lambda person: person.administer("POST", ":setRole", role="ROLE_EDUCATOR")),
    (Cause.USER_DISABLED, lambda person: person.administer("POST", ":disable")),
    (Cause.USER_DELETED, lambda person: person.administer("DELETE", "?forfeitBalance=true")),
    (Cause.API_KEY_REVOKED, lambda person: person.delete(f"auth/apiKeys/{person.lost['id']}")),
)
"""All causes but that of a signing key, which is everybody's."""
