"""Many callers at once: every code is used once, every challenge once, and failures are counted over challenges."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from grpc import aio

from tests.support.auth import LIMITED, PASSWORD, RunningAuth, running_auth
from tests.support.refusals import described, refusal
from tests.support.second_factors import client_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from tests.support.postgres import Clone
    from tests.support.second_factors import Client


EMAIL = "thandi@example.com"
REFUSED = "TOO_MANY_FAILED_ATTEMPTS"


async def test_one_code_of_an_authenticator_at_20_challenges_at_once_signs_in_once(
    auth: RunningAuth, client: Client
) -> None:
    authenticator, _ = await client.enable((await auth.register(EMAIL)).access_token)
    challenges = [(await client.login(EMAIL)).mfa_challenge for _ in range(20)]
    code = authenticator.next_code()
    outcomes = await _outcomes(client.verify(challenge.id, code) for challenge in challenges)
    assert outcomes == {"": 1, "MFA_CODE_INVALID": 19}


async def test_one_recovery_code_at_20_challenges_at_once_signs_in_once(auth: RunningAuth, client: Client) -> None:
    _, codes = await client.enable((await auth.register(EMAIL)).access_token)
    challenges = [(await client.login(EMAIL)).mfa_challenge for _ in range(20)]
    outcomes = await _outcomes(client.verify(challenge.id, codes[0]) for challenge in challenges)
    assert outcomes.pop("") == 1
    busy = {"OVERLOADED", "DEADLINE_PASSED"}  # Of a machine that 190 hashes take long.
    assert set(outcomes) <= {"MFA_CODE_INVALID", *busy}
    assert outcomes.total() == 19


async def test_one_code_signs_in_or_confirms_a_change_but_not_both(auth: RunningAuth, client: Client) -> None:
    token = (await auth.register(EMAIL)).access_token
    authenticator, _ = await client.enable(token)
    challenge = (await client.login(EMAIL)).mfa_challenge
    code = authenticator.next_code()
    outcomes = await _outcomes([client.verify(challenge.id, code), client.regenerate(token, code)])
    assert outcomes[""] == 1


async def test_of_20_guesses_at_one_challenge_at_once_five_are_looked_at(auth: RunningAuth, client: Client) -> None:
    authenticator, _ = await client.enable((await auth.register(EMAIL)).access_token)
    challenge = (await client.login(EMAIL)).mfa_challenge
    wrong = authenticator.wrong_code()
    outcomes = await _outcomes(client.verify(challenge.id, wrong) for _ in range(20))
    assert outcomes == {"MFA_CODE_INVALID": 5, "MFA_CHALLENGE_INVALID": 15}
    assert (await refusal(client.verify(challenge.id, authenticator.next_code()))).reason == "MFA_CHALLENGE_INVALID"


async def test_one_challenge_met_20_times_at_once_gives_one_session(auth: RunningAuth, client: Client) -> None:
    _, codes = await client.enable((await auth.register(EMAIL)).access_token)
    challenge = (await client.login(EMAIL)).mfa_challenge
    [before] = await auth.sql("SELECT count(*) AS sessions FROM sessions")
    outcomes = await _outcomes(client.verify(challenge.id, code) for code in codes * 2)
    assert outcomes[""] == 1
    assert outcomes["MFA_CHALLENGE_INVALID"] >= 15
    [after] = await auth.sql("SELECT count(*) AS sessions FROM sessions")
    assert after["sessions"] == before["sessions"] + 1


async def test_one_enrolment_confirmed_20_times_at_once_has_one_set_of_recovery_codes(
    auth: RunningAuth, client: Client
) -> None:
    token = (await auth.register(EMAIL)).access_token
    authenticator = await client.enroll(token)
    code = authenticator.code()
    outcomes = await _outcomes(client.confirm(token, code) for _ in range(20))
    assert outcomes[""] == 1
    [row] = await auth.sql("SELECT count(*) AS codes FROM recovery_codes")
    assert row["codes"] == 10


async def test_wrong_codes_are_counted_over_challenges(limited: RunningAuth, limited_client: Client) -> None:
    authenticator, _ = await limited_client.enable((await limited.register(EMAIL)).access_token)
    challenges = [(await limited_client.login(EMAIL)).mfa_challenge for _ in range(20)]
    wrong = authenticator.wrong_code()
    outcomes = await _outcomes(limited_client.verify(challenge.id, wrong) for challenge in challenges)
    assert outcomes == {"MFA_CODE_INVALID": 5, REFUSED: 15}
    untouched = (await limited_client.login(EMAIL)).mfa_challenge
    assert (await refusal(limited_client.verify(untouched.id, authenticator.next_code()))).reason == REFUSED
    await limited.sql("UPDATE failed_attempts SET wait_end_time = now()")
    assert (await limited_client.verify(untouched.id, authenticator.next_code())).access_token


async def test_who_knows_the_password_alone_does_not_keep_a_known_device_out(
    limited: RunningAuth, limited_client: Client
) -> None:
    registered = await limited.register(EMAIL)
    authenticator, _ = await limited_client.enable(registered.access_token)
    challenges = [(await limited_client.login(EMAIL)).mfa_challenge for _ in range(3)]
    await _outcomes(
        limited_client.verify(challenge.id, authenticator.wrong_code(), address="198.51.100.9")
        for challenge in challenges * 10
    )
    mine = (await limited_client.login(EMAIL, device_token=registered.device_token)).mfa_challenge
    assert (await limited_client.verify(mine.id, authenticator.next_code())).access_token


async def test_wrong_codes_of_a_known_device_are_counted_for_it(limited: RunningAuth, limited_client: Client) -> None:
    registered = await limited.register(EMAIL)
    authenticator, _ = await limited_client.enable(registered.access_token)
    challenges = [
        (await limited_client.login(EMAIL, device_token=registered.device_token)).mfa_challenge for _ in range(8)
    ]
    outcomes = await _outcomes(
        limited_client.verify(challenge.id, authenticator.wrong_code()) for challenge in challenges
    )
    assert outcomes == {"MFA_CODE_INVALID": 5, REFUSED: 3}


async def test_a_right_password_forgets_no_failed_code(limited: RunningAuth, limited_client: Client) -> None:
    authenticator, _ = await limited_client.enable((await limited.register(EMAIL)).access_token)
    reasons = []
    for _ in range(6):
        challenge = (await limited_client.login(EMAIL)).mfa_challenge
        reasons.append((await refusal(limited_client.verify(challenge.id, authenticator.wrong_code()))).reason)
    assert reasons == ["MFA_CODE_INVALID"] * 5 + [REFUSED]


async def test_guesses_in_a_session_that_was_found_open_are_counted_for_it(
    limited: RunningAuth, limited_client: Client
) -> None:
    token = (await limited.register(EMAIL)).access_token
    authenticator, codes = await limited_client.enable(token)
    mine = await limited_client.verify((await limited_client.login(EMAIL)).mfa_challenge.id, codes[0])
    guesses = [limited_client.disable(token, authenticator.wrong_code(), f"a wrong password {n}") for n in range(20)]
    assert await _outcomes(guesses) == {"CONFIRMATION_INVALID": 5, REFUSED: 15}
    await limited_client.disable(mine.access_token, codes[1], PASSWORD)


async def test_a_session_does_not_guess_codes_with_the_right_password(
    limited: RunningAuth, limited_client: Client
) -> None:
    token = (await limited.register(EMAIL)).access_token
    authenticator, _ = await limited_client.enable(token)
    guesses = [limited_client.disable(token, authenticator.wrong_code()) for _ in range(20)]
    assert await _outcomes(guesses) == {"CONFIRMATION_INVALID": 5, REFUSED: 15}


async def test_a_code_that_is_not_looked_at_is_no_failure(auth_database: Clone) -> None:
    limits: dict[str, Any] = {**LIMITED, "account_max_failures": 2}
    urls = auth_database.owner_url, auth_database.app_url
    async with running_auth(*urls, **limits) as auth, client_of(auth) as client:
        token = (await auth.register(EMAIL)).access_token
        authenticator = await client.enroll(token)
        async with auth.locked("SELECT FROM users FOR UPDATE"):
            for _ in range(auth.settings.account_max_failures):
                assert (await refusal(client.confirm(token, authenticator.code()))).reason == "OVERLOADED"
        assert len(await client.confirm(token, authenticator.code())) == 10


async def _outcomes(calls: Iterable[Awaitable[object]]) -> Counter[str]:
    """Make the calls at once; count their reasons, "" of those that succeeded."""
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    return Counter(described(outcome).reason if isinstance(outcome, aio.AioRpcError) else "" for outcome in outcomes)
