"""Accounts with nothing but curl: tokens, passwords, second factors, devices and sessions over JSON."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from tests.support.people import PASSWORD
from tests.support.second_factors import Authenticator
from tests.support.smtp import LINK
from tests.support.waiting import eventually_sync

NEW_PASSWORD = "a shorter walk to the library"
Answer = tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Curl:
    """Calls the edge with curl."""

    edge: str

    def get(self, path: str, token: str = "") -> Answer:
        """Send GET."""
        return self._run(path, token)

    def post(self, path: str, token: str = "", /, **fields: str) -> Answer:
        """Send POST with a JSON object."""
        return self._run(path, token, "-H", "content-type: application/json", "-d", json.dumps(fields))

    def delete(self, path: str, token: str = "") -> Answer:
        """Send DELETE."""
        return self._run(path, token, "-X", "DELETE")

    def _run(self, path: str, token: str, *arguments: str) -> Answer:
        bearer = ("-H", f"authorization: Bearer {token}") if token else ()
        options = ("-sS", "--noproxy", "*", "-w", "\n%{http_code}")
        command = ["curl", *options, *bearer, *arguments, f"{self.edge}/v1/{path}"]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout  # noqa: S603
        body, _, status = said.rpartition("\n")
        return int(status), json.loads(body)


@pytest.fixture
def curl(edge: str) -> Curl:
    return Curl(edge)


@pytest.fixture
def email() -> str:
    return f"{uuid4()}@azora.world"


def register(curl: Curl, email: str) -> dict[str, Any]:
    status, session = curl.post("auth/register", email=email, password=PASSWORD, name="Thandi Test")
    assert status == 200, session
    return session


def login(curl: Curl, email: str, password: str = PASSWORD, **fields: str) -> dict[str, Any]:
    status, session = curl.post("auth/login", email=email, password=password, **fields)
    assert status == 200, session
    return session


def refused(answer: Answer) -> tuple[int, str]:
    """Return the status and the reason of a refusal."""
    status, body = answer
    return status, body["details"][0]["reason"]


def test_a_session_is_refreshed_and_ended(curl: Curl, email: str) -> None:
    session = register(curl, email)
    status, renewed = curl.post("auth/refresh", refreshToken=session["refreshToken"])
    assert (status, renewed["user"]["email"]) == (200, email)
    assert curl.get("auth/profile", renewed["accessToken"])[0] == 200
    assert curl.post("auth/logout", refreshToken=renewed["refreshToken"]) == (200, {})
    answer = curl.post("auth/refresh", refreshToken=renewed["refreshToken"])
    assert refused(answer) == (401, "REFRESH_TOKEN_INVALID")


def test_a_password_is_reset_by_a_mail_and_changed(curl: Curl, email: str) -> None:
    register(curl, email)
    assert curl.post("auth/password:requestReset", email=email) == (200, {})
    admin = login(curl, "admin@azora.world", "Admin@2024!")["accessToken"]

    def mailed() -> str:
        _, page = curl.get("mail/messages?pageSize=100", admin)
        kinds = (email, "password_reset")
        return next((mail["text"] for mail in page["messages"] if (mail["address"], mail["kind"]) == kinds), "")

    link = LINK.search(eventually_sync(mailed))
    assert link is not None
    assert curl.post("auth/password:reset", token=link[1], newPassword=NEW_PASSWORD) == (200, {})
    assert refused(curl.post("auth/login", email=email, password=PASSWORD)) == (401, "CREDENTIALS_INVALID")
    token = login(curl, email, NEW_PASSWORD)["accessToken"]
    change = {"currentPassword": NEW_PASSWORD, "newPassword": PASSWORD}
    assert curl.post("auth/password:change", token, **change) == (200, {})
    assert refused(curl.post("auth/password:change", token, **change)) == (403, "CONFIRMATION_INVALID")
    login(curl, email)


def test_a_second_factor_from_its_secret_to_its_end(curl: Curl, email: str) -> None:
    token = register(curl, email)["accessToken"]
    _, enrolled = curl.post("auth/mfa/totp", token)
    assert enrolled["uri"].startswith("otpauth://totp/Azora:")
    authenticator = Authenticator(enrolled["secret"])
    wrong = curl.post("auth/mfa/totp:confirm", token, code=authenticator.wrong_code())
    assert refused(wrong) == (400, "TOTP_CODE_INVALID")
    _, confirmed = curl.post("auth/mfa/totp:confirm", token, code=authenticator.code())
    codes = confirmed["recoveryCodes"]
    assert curl.get("auth/mfa", token) == (200, {"mfa": {"totpEnabled": True, "recoveryCodesLeft": 10}})

    challenge = login(curl, email)["mfaChallenge"]
    assert set(challenge) == {"id", "expireTime"}
    wrong = curl.post("auth/mfa:verify", challengeId=challenge["id"], code=authenticator.wrong_code())
    assert refused(wrong) == (401, "MFA_CODE_INVALID")
    status, session = curl.post("auth/mfa:verify", challengeId=challenge["id"], code=authenticator.next_code())
    assert (status, session["user"]["email"], session["expiresIn"]) == (200, email, 900)
    again = curl.post("auth/mfa:verify", challengeId=challenge["id"], code=codes[0])
    assert refused(again) == (401, "MFA_CHALLENGE_INVALID")

    challenge = login(curl, email)["mfaChallenge"]
    status, session = curl.post("auth/mfa:verify", challengeId=challenge["id"], code=codes[0])
    token = session["accessToken"]
    assert curl.get("auth/mfa", token) == (200, {"mfa": {"totpEnabled": True, "recoveryCodesLeft": 9}})
    _, replaced = curl.post("auth/mfa/recoveryCodes", token, password=PASSWORD, code=codes[1])
    assert len({*codes, *replaced["recoveryCodes"]}) == 20
    used = curl.post("auth/mfa/totp:disable", token, password=PASSWORD, code=codes[2])
    assert refused(used) == (403, "CONFIRMATION_INVALID")
    code = replaced["recoveryCodes"][0]
    assert curl.post("auth/mfa/totp:disable", token, password=PASSWORD, code=code) == (200, {})
    assert curl.get("auth/mfa", token) == (200, {"mfa": {"totpEnabled": False, "recoveryCodesLeft": 0}})
    assert login(curl, email)["accessToken"]


def test_devices_and_sessions_are_listed_and_ended(curl: Curl, email: str) -> None:
    first = register(curl, email)
    known = login(curl, email, deviceToken=first["deviceToken"], deviceName="Laptop")
    other = login(curl, email, deviceName="Phone")
    token = known["accessToken"]
    assert "deviceToken" not in known
    _, page = curl.get("auth/sessions", token)
    sessions = [(session["device"], session["current"]) for session in page["sessions"]]
    assert sessions == [("Phone", False), ("Laptop", True), ("curl", False)]
    [phone, laptop] = curl.get("auth/devices", token)[1]["devices"]
    assert (phone["name"], laptop["name"]) == ("Phone", "Laptop")
    assert laptop["lastUseTime"] >= laptop["createTime"]
    assert curl.delete(f"auth/devices/{phone['id']}", token) == (200, {})
    assert refused(curl.delete(f"auth/devices/{phone['id']}", token)) == (404, "DEVICE_NOT_FOUND")
    assert [device["id"] for device in curl.get("auth/devices", token)[1]["devices"]] == [laptop["id"]]

    assert curl.post("auth/sessions:revokeOthers", token) == (200, {})
    for ended in (first, other):
        answer = curl.post("auth/refresh", refreshToken=ended["refreshToken"])
        assert refused(answer) == (401, "REFRESH_TOKEN_INVALID")
        assert refused(curl.get("auth/profile", ended["accessToken"])) == (401, "TOKEN_INVALID")
    _, page = curl.get("auth/sessions", token)
    assert [session["current"] for session in page["sessions"]] == [True]
    assert curl.post("auth/sessions:revokeAll", token) == (200, {})
    assert refused(curl.get("auth/profile", token)) == (401, "TOKEN_INVALID")
    answer = curl.post("auth/refresh", refreshToken=known["refreshToken"])
    assert refused(answer) == (401, "REFRESH_TOKEN_INVALID")
