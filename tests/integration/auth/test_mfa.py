"""Second factors: enrolling, signing in with a code, recovery, disabling."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from azora.auth.v1 import auth_service_pb2
from azora.auth.v1 import mfa_service_pb2 as pb
from azora.client import bearer

from tests.support.auth import PASSWORD, RunningAuth
from tests.support.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.support.second_factors import Client

EMAIL = "thandi@example.com"


async def test_a_secret_is_given_for_people_and_for_authenticators(auth: RunningAuth, client: Client) -> None:
    token = (await auth.register(EMAIL)).access_token
    enrolled = await client.mfa.EnrollTotp(pb.EnrollTotpRequest(), metadata=bearer(token))
    assert len(base64.b32decode(enrolled.secret)) == 20
    uri = urlsplit(enrolled.uri)
    query = parse_qs(uri.query)
    assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", "/Azora:thandi%40example.com")
    assert (query["secret"], query["issuer"], query["digits"]) == ([enrolled.secret], ["Azora"], ["6"])


async def test_a_second_factor_counts_once_confirmed(auth: RunningAuth, client: Client) -> None:
    token = (await auth.register(EMAIL)).access_token
    authenticator = await client.enroll(token)
    assert (await client.login(EMAIL)).access_token, "not confirmed"
    assert not await _enabled(client, token)
    wrong = await refusal(client.confirm(token, authenticator.wrong_code()))
    assert (wrong.code, wrong.reason, wrong.fields) == ("INVALID_ARGUMENT", "TOTP_CODE_INVALID", ("code",))
    recovery_codes = await client.confirm(token, authenticator.code())
    assert len(set(recovery_codes)) == 10
    assert await _enabled(client, token)
    answer = await client.login(EMAIL)
    assert answer.mfa_challenge.id
    assert [field.name for field, _ in answer.ListFields()] == ["mfa_challenge"]
    lifetime = answer.mfa_challenge.expire_time.ToSeconds() - time.time()
    assert 295 <= lifetime <= 300


async def test_a_challenge_is_met_by_a_code_and_gives_a_session(auth: RunningAuth, client: Client) -> None:
    registered = await auth.register(EMAIL)
    authenticator, recovery_codes = await client.enable(registered.access_token)
    challenge = (await client.login(EMAIL)).mfa_challenge
    session = await client.verify(challenge.id, authenticator.next_code())
    assert session.user == registered.user
    assert session.expires_in == 900
    assert (await auth.profile(session.access_token)).user == registered.user
    assert (await auth.refresh(session.refresh_token)).access_token
    assert session.device_token
    again = await refusal(client.verify(challenge.id, recovery_codes[0]))
    assert (again.code, again.reason) == ("UNAUTHENTICATED", "MFA_CHALLENGE_INVALID")


async def test_the_name_of_a_device_is_kept_until_the_code(auth: RunningAuth, client: Client) -> None:
    authenticator, codes = await client.enable((await auth.register(EMAIL)).access_token)
    device_token = ""
    for code, name in ((authenticator.next_code(), "Kitchen tablet"), (codes[0], "Bedroom tablet")):
        request = auth_service_pb2.LoginRequest(
            email=EMAIL, password=PASSWORD, device_name=name, device_token=device_token
        )
        challenge = (await auth.auth.Login(request)).mfa_challenge
        device_token = (await client.verify(challenge.id, code)).device_token or device_token
        for table, column in (("sessions", "device"), ("devices", "name")):
            [row] = await auth.sql(f"SELECT {column} AS name FROM {table} ORDER BY last_use_time DESC LIMIT 1")  # noqa: S608
            assert row["name"] == name


async def test_no_session_begins_and_no_device_is_known_before_the_code(auth: RunningAuth, client: Client) -> None:
    await client.enable((await auth.register(EMAIL)).access_token)
    before = await _count(auth, "sessions"), await _count(auth, "devices")
    await client.login(EMAIL)
    assert (await _count(auth, "sessions"), await _count(auth, "devices")) == before


async def test_a_known_device_does_not_skip_the_code(auth: RunningAuth, client: Client) -> None:
    registered = await auth.register(EMAIL)
    authenticator, _ = await client.enable(registered.access_token)
    answer = await client.login(EMAIL, device_token=registered.device_token)
    assert answer.mfa_challenge.id
    assert not answer.access_token
    session = await client.verify(answer.mfa_challenge.id, authenticator.next_code())
    assert session.device_token == "", "it was known"


async def test_codes_are_typed_as_people_type(auth: RunningAuth, client: Client) -> None:
    authenticator, recovery_codes = await client.enable((await auth.register(EMAIL)).access_token)
    code = authenticator.next_code()
    challenge = (await client.login(EMAIL)).mfa_challenge
    assert (await client.verify(challenge.id, f" {code[:3]} {code[3:]} ")).access_token
    challenge = (await client.login(EMAIL)).mfa_challenge
    assert (await client.verify(challenge.id, recovery_codes[0].upper().replace("-", " "))).access_token


async def test_the_code_that_confirmed_is_used(auth: RunningAuth, client: Client) -> None:
    token = (await auth.register(EMAIL)).access_token
    authenticator = await client.enroll(token)
    code = authenticator.code()
    await client.confirm(token, code)
    challenge = (await client.login(EMAIL)).mfa_challenge
    refused = await refusal(client.verify(challenge.id, code))
    assert (refused.code, refused.reason, refused.metadata) == (
        "UNAUTHENTICATED",
        "MFA_CODE_INVALID",
        {"triesLeft": "4"},
    )


@pytest.mark.parametrize("steps", [-3, 3])
async def test_a_code_of_another_time_is_refused(auth: RunningAuth, client: Client, steps: int) -> None:
    authenticator, _ = await client.enable((await auth.register(EMAIL)).access_token)
    challenge = (await client.login(EMAIL)).mfa_challenge
    assert (await refusal(client.verify(challenge.id, authenticator.code(steps)))).reason == "MFA_CODE_INVALID"


async def test_an_earlier_code_is_refused_after_a_later_one(auth: RunningAuth, client: Client) -> None:
    token = (await auth.register(EMAIL)).access_token
    authenticator = await client.enroll(token)
    earlier = authenticator.code()
    await client.confirm(token, authenticator.code(1))
    challenge = (await client.login(EMAIL)).mfa_challenge
    assert (await refusal(client.verify(challenge.id, earlier))).reason == "MFA_CODE_INVALID"


async def test_a_recovery_code_is_good_once(auth: RunningAuth, client: Client) -> None:
    _, codes = await client.enable((await auth.register(EMAIL)).access_token)
    session = await client.verify((await client.login(EMAIL)).mfa_challenge.id, codes[3])
    got = await client.mfa.GetMfa(pb.GetMfaRequest(), metadata=bearer(session.access_token))
    assert (got.mfa.totp_enabled, got.mfa.recovery_codes_left) == (True, 9)
    challenge = (await client.login(EMAIL)).mfa_challenge
    assert (await refusal(client.verify(challenge.id, codes[3]))).reason == "MFA_CODE_INVALID"
    assert (await client.verify(challenge.id, codes[4])).access_token


async def test_a_challenge_has_five_tries(auth: RunningAuth, client: Client) -> None:
    authenticator, _ = await client.enable((await auth.register(EMAIL)).access_token)
    challenge = (await client.login(EMAIL)).mfa_challenge
    left = [
        (await refusal(client.verify(challenge.id, authenticator.wrong_code()))).metadata["triesLeft"] for _ in range(5)
    ]
    assert left == ["4", "3", "2", "1", "0"]
    assert (await refusal(client.verify(challenge.id, authenticator.next_code()))).reason == "MFA_CHALLENGE_INVALID"


async def test_a_challenge_lasts_five_minutes(auth: RunningAuth, client: Client) -> None:
    authenticator, _ = await client.enable((await auth.register(EMAIL)).access_token)
    challenge = (await client.login(EMAIL)).mfa_challenge
    await auth.sql("UPDATE mfa_challenges SET expire_time = expire_time - interval '4 minutes 50 seconds'")
    assert (await refusal(client.verify(challenge.id, authenticator.wrong_code()))).reason == "MFA_CODE_INVALID"
    await auth.sql("UPDATE mfa_challenges SET expire_time = expire_time - interval '10 seconds'")
    assert (await refusal(client.verify(challenge.id, authenticator.next_code()))).reason == "MFA_CHALLENGE_INVALID"


async def test_a_challenge_is_bound_to_its_password_check(auth: RunningAuth, client: Client) -> None:
    registered = await auth.register(EMAIL)
    other = await auth.register("sipho@example.com")
    mine, _ = await client.enable(registered.access_token)
    theirs, _ = await client.enable(other.access_token)
    challenge = (await client.login(EMAIL)).mfa_challenge
    assert (await refusal(client.verify(challenge.id, theirs.next_code()))).reason == "MFA_CODE_INVALID"
    await auth.sql("UPDATE users SET epoch = epoch + 1 WHERE email = $1", EMAIL)  # As a new password does.
    assert (await refusal(client.verify(challenge.id, mine.next_code()))).reason == "MFA_CHALLENGE_INVALID"
    assert (await refusal(client.verify("x" * 43, mine.next_code()))).reason == "MFA_CHALLENGE_INVALID"


async def test_disabling_asks_for_the_password_and_a_code(auth: RunningAuth, client: Client) -> None:
    session = await auth.register(EMAIL)
    token = session.access_token
    authenticator, _ = await client.enable(token)
    for password, code in (("a wrong password", authenticator.next_code()), (PASSWORD, authenticator.wrong_code())):
        refused = await refusal(client.disable(token, code, password))
        assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "CONFIRMATION_INVALID")
    assert (await refusal(client.disable(token, ""))).fields == ("code",)
    assert await _enabled(client, token)
    await client.disable(token, authenticator.next_code())
    assert not await _enabled(client, token)
    assert (await client.login(EMAIL)).access_token
    assert await _count(auth, "recovery_codes") == 0
    assert (await auth.recorded(f"users/{session.user.id}")).count("mfa.disable") == 1


async def test_recovery_codes_are_replaced_by_password_and_code(auth: RunningAuth, client: Client) -> None:
    session = await auth.register(EMAIL)
    token = session.access_token
    authenticator, old = await client.enable(token)
    refused = await refusal(client.regenerate(token, authenticator.wrong_code()))
    assert refused.reason == "CONFIRMATION_INVALID"
    new = await client.regenerate(token, old[0])
    assert len(new) == 10
    assert not set(new) & set(old)
    challenge = (await client.login(EMAIL)).mfa_challenge
    assert (await refusal(client.verify(challenge.id, old[1]))).reason == "MFA_CODE_INVALID"
    assert (await client.verify(challenge.id, new[0])).access_token
    assert (await auth.recorded(f"users/{session.user.id}")).count("recovery_codes.replace") == 1


async def test_what_is_not_enabled_is_neither_disabled_nor_confirmed_nor_enrolled_twice(
    auth: RunningAuth, client: Client
) -> None:
    token = (await auth.register(EMAIL)).access_token
    assert (await refusal(client.disable(token, "123456"))).reason == "TOTP_NOT_ENABLED"
    assert (await refusal(client.regenerate(token, "123456"))).reason == "TOTP_NOT_ENABLED"
    assert (await refusal(client.confirm(token, "123456"))).reason == "TOTP_NOT_ENROLLED"
    await client.enable(token)
    refused = await refusal(client.enroll(token))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "TOTP_ALREADY_ENABLED")
    assert (await refusal(client.confirm(token, "123456"))).reason == "TOTP_NOT_ENROLLED"


async def test_an_enrolment_is_replaced_by_the_next_one_and_ends_after_15_minutes(
    auth: RunningAuth, client: Client
) -> None:
    token = (await auth.register(EMAIL)).access_token
    first, second = await client.enroll(token), await client.enroll(token)
    assert first != second
    assert (await refusal(client.confirm(token, first.next_code()))).reason == "TOTP_CODE_INVALID"
    await auth.sql("UPDATE totp_secrets SET create_time = create_time - interval '15 minutes'")
    assert (await refusal(client.confirm(token, second.next_code()))).reason == "TOTP_NOT_ENROLLED"
    assert (await client.enable(token))[1]


async def test_a_session_that_was_found_open_does_not_enrol_an_authenticator(auth: RunningAuth, client: Client) -> None:
    token = (await auth.register(EMAIL)).access_token
    await auth.sql("UPDATE sessions SET create_time = create_time - interval '11 minutes'")
    refused = await refusal(client.enroll(token))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "CONFIRMATION_REQUIRED")
    assert refused.metadata == {"field": "password"}
    assert (await refusal(client.enroll(token, "a wrong password"))).reason == "CONFIRMATION_INVALID"
    assert (await client.enroll(token, PASSWORD)).secret


async def test_every_change_of_a_factor_ends_the_other_sessions_and_not_its_own(
    auth: RunningAuth, client: Client
) -> None:
    async def other_session() -> str:
        answer = await client.login(EMAIL)
        if not answer.HasField("mfa_challenge"):
            return answer.refresh_token
        return (await client.verify(answer.mfa_challenge.id, codes.pop())).refresh_token

    session = await auth.register(EMAIL)
    token, codes = session.access_token, list[str]()
    other = await other_session()
    _, codes = await client.enable(token)
    assert (await refusal(auth.refresh(other))).reason == "REFRESH_TOKEN_INVALID"
    other = await other_session()
    codes = await client.regenerate(token, codes.pop())
    assert (await refusal(auth.refresh(other))).reason == "REFRESH_TOKEN_INVALID"
    other = await other_session()
    await client.disable(token, codes.pop())
    assert (await refusal(auth.refresh(other))).reason == "REFRESH_TOKEN_INVALID"
    assert (await auth.profile(token)).user == session.user
    assert (await auth.refresh(session.refresh_token)).access_token
    causes = await auth.sql("SELECT cause FROM revocations")
    assert [row["cause"] for row in causes] == ["MFA_CHANGED"] * 3


async def test_what_fails_ends_no_session(auth: RunningAuth, client: Client) -> None:
    session = await auth.register(EMAIL)
    authenticator, _ = await client.enable(session.access_token)
    await refusal(client.disable(session.access_token, authenticator.wrong_code()))
    await refusal(client.regenerate(session.access_token, authenticator.wrong_code()))
    assert len(await auth.sql("SELECT cause FROM revocations")) == 1


async def test_who_is_not_signed_in_has_no_second_factor(auth: RunningAuth, client: Client) -> None:
    calls: list[Awaitable[object]] = [
        client.mfa.GetMfa(pb.GetMfaRequest()),
        client.mfa.EnrollTotp(pb.EnrollTotpRequest()),
        client.mfa.ConfirmTotp(pb.ConfirmTotpRequest(code="123456")),
        client.mfa.DisableTotp(pb.DisableTotpRequest(password=PASSWORD, code="123456")),
        client.mfa.RegenerateRecoveryCodes(pb.RegenerateRecoveryCodesRequest(password=PASSWORD, code="123456")),
    ]
    assert {(await refusal(call)).reason for call in calls} == {"TOKEN_MISSING"}


async def test_the_database_holds_no_secret_and_no_code(auth: RunningAuth, client: Client) -> None:
    authenticator, codes = await client.enable((await auth.register(EMAIL)).access_token)
    challenge = (await client.login(EMAIL)).mfa_challenge
    rows = [
        str(dict(row)) + bytes(row["whole"], "utf-8").hex()
        for table in ("totp_secrets", "recovery_codes", "mfa_challenges")
        for row in await auth.sql(f"SELECT *, {table}::text AS whole FROM {table}")  # noqa: S608
    ]
    assert len(rows) == 12
    plain = [code.replace("-", "") for code in codes]
    for secret in (*codes, *plain, authenticator.secret, base64.b32decode(authenticator.secret).hex(), challenge.id):
        assert not [row for row in rows if secret in row]


async def _enabled(client: Client, access_token: str) -> bool:
    return (await client.mfa.GetMfa(pb.GetMfaRequest(), metadata=bearer(access_token))).mfa.totp_enabled


async def _count(auth: RunningAuth, table: str) -> int:
    [row] = await auth.sql(f"SELECT count(*) AS rows FROM {table}")  # noqa: S608
    return int(row["rows"])
