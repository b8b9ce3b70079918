"""Export and deletion of an account over JSON, through the real mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.people import PASSWORD
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import httpx

    from tests.support.people import People


async def test_a_person_takes_their_data_along_and_is_erased(http: httpx.AsyncClient, people: People) -> None:
    student, admin = await people.student(), await people.admin()
    user = (await http.get("/v1/auth/profile", headers=student)).json()["user"]
    exported = await http.post("/v1/auth/profile:export", headers=student, json={})
    assert exported.headers["content-type"] == "application/json"
    document = exported.json()
    assert document["auth"]["users"][0]["email"] == user["email"]
    assert document.keys() == {"userId", "auth", "education", "payment"}

    wrong = await http.request("DELETE", "/v1/auth/profile", headers=student, json={"password": "something else"})
    assert (wrong.status_code, wrong.json()["details"][0]["reason"]) == (403, "CONFIRMATION_INVALID")
    path = f"/v1/users/{user['id']}"
    assert "erasure" not in {name for name, value in (await http.get(path, headers=admin)).json().items() if value}
    deleted = await http.request("DELETE", "/v1/auth/profile", headers=student, json={"password": PASSWORD})
    assert (deleted.status_code, deleted.json()) == (200, {}), deleted.text
    shown = (await http.get(path, headers=admin)).json()
    assert shown["user"]["state"] == "USER_STATE_DELETING"
    assert [service["service"] for service in shown["erasure"]["services"]] == ["education", "payment", "auth"]

    async def gone() -> bool:
        return (await http.get(path, headers=admin)).status_code == 404

    await eventually(gone, within_seconds=90)
    assert (await http.get("/v1/auth/profile", headers=student)).status_code == 401
