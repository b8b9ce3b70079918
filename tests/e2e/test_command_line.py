"""`azora` against the running system, as developers and scripts use it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from services.cli import __main__ as cli
from tests.support.system import AZORA
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.people import People
    from tests.support.system import LocalSystem

    Azora = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def azora(system: LocalSystem, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Azora:
    """Give the command on the running system: its exit code, and what it printed and complained of."""
    monkeypatch.setenv("AZORA_HOME", str(system.home))
    monkeypatch.setenv("AZORA_PORT", str(system.port))

    async def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(cli.main, arguments)
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


async def _answer(azora: Azora, *arguments: str) -> Any:
    code, out, err = await azora("call", *arguments)
    assert code == 0, err
    return json.loads(out)


async def test_a_call_signs_in_by_itself_on_a_development_system(azora: Azora) -> None:
    for account, role in (("", "ROLE_STUDENT"), ("educator", "ROLE_EDUCATOR"), ("admin", "ROLE_ADMIN")):
        answer = await _answer(azora, "GetProfile", *(["--as", account] if account else []))
        assert answer["user"]["role"] == role
    answer = await _answer(azora, "azora.education.v1.CourseService/ListCourses", '{"pageSize": 1}')
    assert answer["nextPageToken"]


async def test_a_call_with_a_key_has_one_effect(azora: Azora, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZORA_TOKEN", (await people.student())["authorization"].removeprefix("Bearer "))
    user_id = (await _answer(azora, "GetProfile"))["user"]["id"]
    earn = {"userId": user_id, "amount": {"minorUnits": "5", "currency": "AZR"}, "reference": user_id}
    first, second = [await _answer(azora, "Earn", json.dumps(earn), "--as", "admin", "--key", user_id) for _ in "ab"]
    assert first == second
    wallet = await _answer(azora, "WalletService/GetWallet")
    assert wallet["wallet"]["balances"][0]["posted"] == "5"


async def test_a_stream_is_printed_as_lines(azora: Azora) -> None:
    code, out, err = await azora("call", "ExportStatement", "--json")
    assert code == 0, err
    assert [json.loads(line) for line in out.splitlines()]


async def test_a_call_of_another_target_is_nobody_s(azora: Azora, system: LocalSystem) -> None:
    code, out, err = await azora("call", "GetWallet", "--target", system.target)
    assert (code, out) == (1, "")
    assert [detail["reason"] for detail in json.loads(err)["details"] if "reason" in detail] == ["TOKEN_MISSING"]


async def test_a_refused_call_prints_its_status(azora: Azora) -> None:
    code, out, err = await azora("call", "GetCourse", '{"courseId": "nope"}')
    assert (code, out) == (1, "")
    assert [detail["reason"] for detail in json.loads(err)["details"] if "reason" in detail] == ["VALIDATION_FAILED"]


async def test_one_request_is_followed_over_all_processes(azora: Azora, people: People) -> None:
    student, admin = await people.student(), await people.admin()
    user_id = (await people.http.get("/v1/auth/profile", headers=student)).json()["user"]["id"]
    earned = {"userId": user_id, "amount": {"minorUnits": "100000", "currency": "AZR"}, "reference": user_id}
    assert (await people.http.post("/v1/earn", json=earned, headers=admin)).is_success
    courses = (await people.http.get("/v1/courses")).json()["courses"]
    (paid,) = (course for course in courses if course["price"]["minorUnits"] != "0")
    answer = await people.http.post(f"/v1/courses/{paid['id']}/enroll", json={}, headers=student)
    assert answer.is_success, answer.text

    async def processes() -> bool:
        _, out, _ = await azora("logs", "--request", answer.headers["x-request-id"], "--json")
        return {"envoy", "education", "payment"} <= {json.loads(line)["process"] for line in out.splitlines()}

    await eventually(processes)  # Envoy writes its log in pieces.


@pytest.mark.parametrize(
    "arguments", [["status", "--interval", "0.2"], ["doctor"], ["events", "list"], ["keys", "list"], ["verify"]]
)
async def test_all_that_is_printed_is_json_when_asked_for(azora: Azora, arguments: list[str]) -> None:
    _, out, _ = await azora(*arguments, "--json")
    assert out
    assert all(isinstance(json.loads(line), dict) for line in out.splitlines())


async def test_what_takes_long_says_on_a_terminal_that_it_goes_on(system: LocalSystem) -> None:
    ours, theirs = pty.openpty()
    environment = {
        "AZORA_HOME": str(system.home),
        "AZORA_PORT": str(system.port),
        "TERM": "xterm",
        "PATH": "/usr/bin:/bin",
    }
    verify = await asyncio.create_subprocess_exec(
        AZORA, "verify", env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    shown = await asyncio.to_thread(everything, ours)
    assert await verify.wait() == 0
    assert b"verifying the ledger" in shown


def everything(terminal: int) -> bytes:
    """Return all that is written to a terminal until its other side is closed."""
    shown = b""
    with suppress(OSError):  # The other side was closed.
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    return shown
