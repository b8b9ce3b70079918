"""The audit logs of all services over the real mesh, and without one of them."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

from tests.support.services import SERVICES
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import httpx

    from tests.support.people import People
    from tests.support.system import LocalSystem

COURSE = {"title": "Audited", "modules": [{"title": "One", "lessons": [{"title": "One", "required": True}]}]}
UNREACHABLE_SECONDS = 5.0


async def _events(http: httpx.AsyncClient, admin: dict[str, str], **parameters: Any) -> dict[str, Any]:
    response = await http.get("/v1/auditEvents", headers=admin, params=parameters)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_events_of_all_services_are_listed_and_verified(http: httpx.AsyncClient, people: People) -> None:
    student, educator, admin = await people.student(), await people.educator(), await people.admin()
    course = (await http.post("/v1/courses", headers=educator, json=COURSE)).json()["course"]
    published = await http.post(f"/v1/courses/{course['id']}:publish", headers=educator, json={})
    assert published.status_code == 200, published.text
    user = (await http.get("/v1/auth/profile", headers=student)).json()["user"]
    grant = {"userId": user["id"], "amount": {"minorUnits": "5", "currency": "AZR"}, "reference": user["id"]}
    assert (await http.post("/v1/earn", headers=admin, json=grant)).status_code == 200

    answer = await _events(http, admin, pageSize=100)
    assert answer["unreachable"] == []
    seen = {(event["sourceService"], event["action"], event["target"]) for event in answer["events"]}
    assert {
        ("auth", "user.create", f"users/{user['id']}"),
        ("education", "course.publish", f"courses/{course['id']}"),
        ("payment", "earning.grant", f"users/{user['id']}"),
    } <= seen
    times = [event["createTime"] for event in answer["events"]]
    assert times == sorted(times, reverse=True)
    assert all(event["address"] for event in answer["events"] if event["action"] in ("user.sign_in", "earning.grant"))

    async def verified() -> bool:
        chains: dict[str, int] = {}
        token = ""
        while True:
            page = (await http.get("/v1/auditEvents:verify", headers=admin, params={"pageToken": token})).json()
            assert page["unreachable"] == []
            assert not [chain for chain in page["chains"] if chain["findings"]]
            chains |= {chain["service"]: int(chain["lastSealNumber"]) for chain in page["chains"]}
            token = page["nextPageToken"]
            if not token:
                return set(chains) == set(SERVICES) and all(chains.values())

    await eventually(verified)
    assert (await http.get("/v1/auditEvents", headers=student)).status_code == 403
    assert (await http.get("/v1/auditEvents:verify", headers=student)).status_code == 403


async def test_without_education_the_others_are_listed_in_time(
    system: LocalSystem, http: httpx.AsyncClient, people: People
) -> None:
    admin = await people.admin()
    education = system.processes()["education"].pid
    os.kill(education, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        answer = await _events(http, admin)
        assert time.monotonic() - begin < UNREACHABLE_SECONDS
        assert answer["unreachable"] == ["education"]
        assert {event["sourceService"] for event in answer["events"]} & {"auth", "payment"}
    finally:
        os.kill(education, signal.SIGCONT)

    async def back() -> bool:
        return not (await _events(http, admin))["unreachable"]

    await eventually(back, within_seconds=30)
