"""The main job through the real edge: over JSON, over the typed stubs, with the developer's tools."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azora.education.v1 import course_service_pb2

from services.cli.output import Output
from services.demo import play
from services.local.public_port import PublicPort
from tests.support.services import ALL_HEALTHY
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import httpx
    import pytest

    from tests.support.people import People

BIN = Path(sys.executable).parent


def test_the_demo_tells_programs_how_it_went(edge: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert play(PublicPort(int(edge.rpartition(":")[2])), Output(as_json=True)) == 0
    json_story, stub_story = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for story in (json_story, stub_story):
        assert (story["completed"], story["bought"]) == ("Python Programming Basics", "Web Development Fundamentals")
        assert (story["refundedMinor"], story["balanceMinor"]) == (4900, 5000)
    assert json_story["over"] != stub_story["over"]


async def test_the_demo_command_tells_it_all(edge: str) -> None:
    port = edge.rpartition(":")[2]
    demo = await asyncio.create_subprocess_exec(
        BIN / "azora", "demo", env={"AZORA_PORT": port, "PATH": "/usr/bin:/bin"}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await demo.communicate()
    assert demo.returncode == 0, out.decode()
    assert out.decode().count("The enrolment is cancelled; the wallet holds 50.00 AZR") == 2


async def test_the_demo_says_what_to_do_when_nothing_runs() -> None:
    demo = await asyncio.create_subprocess_exec(
        BIN / "azora", "demo", env={"AZORA_PORT": "1", "PATH": "/usr/bin:/bin"}, stderr=asyncio.subprocess.PIPE
    )
    _, err = await demo.communicate()
    assert demo.returncode == 1
    assert "make run" in err.decode()


async def test_seeds_are_there_and_the_books_balance(http: httpx.AsyncClient, people: People) -> None:
    courses = (await http.get("/v1/courses")).json()["courses"]
    prices = {course["title"]: course["price"] for course in courses}
    assert (
        prices.items()
        >= {
            "Python Programming Basics": {"minorUnits": "0", "currency": "AZR"},
            "Web Development Fundamentals": {"minorUnits": "4900", "currency": "AZR"},
        }.items()
    )
    trial = (await http.get("/v1/ledger/trialBalance", headers=await people.admin())).json()
    assert trial["balanced"] is True
    assert {currency["total"] for currency in trial["currencies"]} == {"0"}


async def test_an_educator_writes_and_publishes_and_a_student_sees_it_then(
    http: httpx.AsyncClient, people: People
) -> None:
    educator, student = await people.educator(), await people.student()
    draft = {"title": "Tea", "description": "Leaves", "modules": [{"title": "One", "lessons": [{"title": "Boil"}]}]}
    made = (await http.post("/v1/courses", json=draft, headers=educator)).json()["course"]
    assert made["state"] == "COURSE_STATE_DRAFT"
    assert (await http.get(f"/v1/courses/{made['id']}", headers=student)).status_code == 404
    published = await http.post(f"/v1/courses/{made['id']}:publish", json={}, headers=educator)
    assert published.json()["course"]["state"] == "COURSE_STATE_PUBLISHED"
    seen = (await http.get(f"/v1/courses/{made['id']}", headers=student)).json()["course"]
    assert seen["modules"][0]["lessons"][0]["required"] is True
    assert (await http.post("/v1/courses", json=draft, headers=student)).status_code == 403


async def test_a_session_refreshes_and_ends(http: httpx.AsyncClient) -> None:
    body = {"email": "session@azora.world", "password": "a long walk to the library", "name": "Sess Ion"}
    session = (await http.post("/v1/auth/register", json=body)).json()
    assert session["expiresIn"] == 900
    renewed = (await http.post("/v1/auth/refresh", json={"refreshToken": session["refreshToken"]})).json()
    headers = {"authorization": f"Bearer {renewed['accessToken']}"}
    changed = await http.patch("/v1/auth/profile?updateMask=bio", json={"bio": "Hi"}, headers=headers)
    assert (changed.json()["user"]["bio"], changed.json()["user"]["name"]) == ("Hi", "Sess Ion")
    assert (await http.post("/v1/auth/logout", json={}, headers=headers)).json() == {}
    over = await http.post("/v1/auth/refresh", json={"refreshToken": renewed["refreshToken"]})
    assert over.status_code == 401


async def test_the_same_key_is_one_payment_and_says_that_it_was_replayed(
    http: httpx.AsyncClient, people: People
) -> None:
    student, admin = await people.student(), await people.admin()
    user_id = (await http.get("/v1/auth/profile", headers=student)).json()["user"]["id"]
    grant = {"userId": user_id, "amount": {"minorUnits": "900", "currency": "AZR"}, "reference": f"e2e:{user_id}"}
    assert (await http.post("/v1/earn", json=grant, headers=admin)).status_code == 200
    gift = {"type": "PAYMENT_TYPE_DONATION", "amount": {"minorUnits": "900", "currency": "AZR"}}
    keyed = student | {"idempotency-key": "gift-1"}
    answers = await asyncio.gather(*(http.post("/v1/payments", json=gift, headers=keyed) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert sum(answer.headers.get("idempotent-replayed") == "true" for answer in answers) == 9
    wallet = (await http.get("/v1/wallet", headers=student)).json()["wallet"]
    assert wallet["balances"][0].pop("etag")
    assert wallet["balances"] == [{"currency": "AZR", "posted": "0", "held": "0", "available": "0"}]
    broke = await http.post("/v1/payments", json=gift, headers=student)
    assert broke.json()["details"][0]["reason"] == "INSUFFICIENT_FUNDS"
    other = gift | {"amount": {"minorUnits": "1", "currency": "AZR"}}
    reused = await http.post("/v1/payments", json=other, headers=keyed)
    assert reused.json()["details"][0]["reason"] == "IDEMPOTENCY_KEY_REUSED"


async def test_buf_curl_works_as_printed_by_reflection(edge: str) -> None:
    call = await asyncio.create_subprocess_exec(
        BIN / "buf",
        *("curl", "--protocol", "grpc", "--http2-prior-knowledge"),
        f"{edge}/azora.education.v1.CourseService/ListCourses",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await call.communicate()
    assert call.returncode == 0, errors.decode()
    assert len(json.loads(out)["courses"]) >= 2


async def test_grpc_web_works_on_the_same_port(http: httpx.AsyncClient) -> None:
    message = course_service_pb2.ListCoursesRequest(page_size=1).SerializeToString()
    response = await http.post(
        "/azora.education.v1.CourseService/ListCourses",
        content=b"\x00" + struct.pack(">I", len(message)) + message,
        headers={"content-type": "application/grpc-web+proto", "x-grpc-web": "1"},
    )
    length = struct.unpack(">I", response.content[1:5])[0]
    listed = course_service_pb2.ListCoursesResponse.FromString(response.content[5 : 5 + length])
    assert len(listed.courses) == 1
    assert b"grpc-status:0" in response.content[5 + length :].replace(b" ", b"")


async def test_tokens_are_verified_by_published_keys(http: httpx.AsyncClient) -> None:
    keys = (await http.get("/.well-known/jwks.json")).json()["keys"]
    assert {key["alg"] for key in keys} == {"ES256"}
    assert not any("d" in key for key in keys)
    body = {"email": "student@azora.world", "password": "Student@2024!"}
    token = (await http.post("/v1/auth/login", json=body)).json()["accessToken"]
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert header["kid"] in {key["kid"] for key in keys}
    discovery = (await http.get("/.well-known/openid-configuration")).json()
    assert discovery["jwks_uri"].endswith("/.well-known/jwks.json")


async def test_cors_is_strict_and_answers_carry_security_headers(http: httpx.AsyncClient) -> None:
    preflight = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    refused = await http.options("/v1/auth/login", headers=preflight)
    assert "access-control-allow-origin" not in refused.headers
    answer = await http.get("/v1/courses", headers={"accept-encoding": "gzip"})
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-encoding"] == "gzip"
    assert "server" not in answer.headers or "envoy" not in answer.headers["server"]
    assert answer.headers["x-request-id"]


async def test_health_names_every_part(http: httpx.AsyncClient) -> None:
    async def healthy() -> bool:
        answer: Any = (await http.get("/health")).json()
        return bool(
            answer
            == {
                "status": "healthy",
                "services": ALL_HEALTHY,
            }
        )

    await eventually(healthy)
