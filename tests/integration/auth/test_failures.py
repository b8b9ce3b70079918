"""Failed attempts: counted by Auth in its database, per account and per address, over all replicas."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from azora.auth.v1 import auth_service_pb2 as pb
from grpc import aio

from tests.support.auth import LIMITED, RunningAuth, running_auth
from tests.support.refusals import described, refusal
from tests.support.second_factors import Client, client_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from tests.support.postgres import Clone

EMAIL = "thandi@example.com"
WRONG = "a wrong password"
REFUSED = "TOO_MANY_FAILED_ATTEMPTS"


@pytest.fixture
def client(limited_client: Client) -> Client:
    return limited_client


async def test_five_failures_of_an_account_begin_a_wait_however_it_is_spelled(
    limited: RunningAuth, client: Client
) -> None:
    await limited.register(EMAIL)
    spellings = [EMAIL, "Thandi@example.com", " thandi@EXAMPLE.com"]
    refusals = [await refusal(client.login(email, WRONG)) for email in [*spellings, *spellings]]
    assert [refused.reason for refused in refusals] == ["CREDENTIALS_INVALID"] * 5 + [REFUSED]
    assert (refusals[-1].code, refusals[-1].metadata) == ("RESOURCE_EXHAUSTED", {})
    assert 25 < refusals[-1].retry_after_seconds <= 30
    right = await refusal(client.login(EMAIL))
    assert right.reason == REFUSED, "the right password has to wait, too"


async def test_successes_are_not_counted(limited: RunningAuth, client: Client) -> None:
    await limited.register(EMAIL)
    for _ in range(8):
        assert (await client.login(EMAIL, address="203.0.113.7")).access_token
    rows = await limited.sql("SELECT failures FROM failed_attempts")
    assert [row["failures"] for row in rows] == [0], "of the address; the account has no row"


async def test_a_success_forgets_the_failures_of_the_account(limited: RunningAuth, client: Client) -> None:
    await limited.register(EMAIL)
    for _ in range(3):
        reasons = [(await refusal(client.login(EMAIL, WRONG))).reason for _ in range(4)]
        assert reasons == ["CREDENTIALS_INVALID"] * 4
        assert (await client.login(EMAIL)).access_token


async def test_unknown_addresses_are_counted_alike(limited: RunningAuth, client: Client) -> None:
    await limited.register(EMAIL)
    answers = []
    for email in (EMAIL, "nobody@example.com", "no address at all", "nul\0@example.com"):
        outcomes = []
        for _ in range(7):
            with pytest.raises(aio.AioRpcError) as failed:
                await client.login(email, WRONG)
            refused = described(failed.value)
            outcomes.append((failed.value.code(), failed.value.details(), refused.reason, refused.metadata))
        answers.append(outcomes)
    assert answers[0][5][2] == REFUSED
    assert all(answer == answers[0] for answer in answers)


async def test_waits_grow_and_are_bounded(limited: RunningAuth, client: Client) -> None:
    waits = []
    for _ in range(5 + 8):
        await _end_waits(limited)
        assert (await refusal(client.login(EMAIL, WRONG))).reason == "CREDENTIALS_INVALID"
        [row] = await limited.sql("SELECT extract(epoch FROM wait_end_time - count_time) AS wait FROM failed_attempts")
        waits.append(round(row["wait"]))
    assert waits == [0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900, 900, 900]


async def test_a_wait_ends_by_itself_whoever_goes_on_guessing(limited: RunningAuth, client: Client) -> None:
    await limited.register(EMAIL)
    await _fail(client, EMAIL, 5)
    [before] = await limited.sql("SELECT * FROM failed_attempts")
    assert await _reasons(client.login(EMAIL, WRONG) for _ in range(20)) == {REFUSED: 20}
    assert await limited.sql("SELECT * FROM failed_attempts") == [before], "refused attempts lengthen nothing"
    await _end_waits(limited)
    assert (await client.login(EMAIL)).access_token


async def test_a_failure_is_forgotten_in_time(limited: RunningAuth, client: Client) -> None:
    await _fail(client, EMAIL, 4)
    await limited.sql("UPDATE failed_attempts SET count_time = count_time - interval '30 minutes'")
    assert await _reasons([client.login(EMAIL, WRONG)]) == {"CREDENTIALS_INVALID": 1}
    [row] = await limited.sql("SELECT failures FROM failed_attempts")
    assert 2.9 < row["failures"] <= 3


async def test_of_guesses_at_once_no_more_are_looked_at_than_one_after_another(
    limited: RunningAuth, client: Client
) -> None:
    await limited.register(EMAIL)
    guesses = [client.login(EMAIL, f"{WRONG} {number}") for number in range(20)]
    assert await _reasons(guesses) == {"CREDENTIALS_INVALID": 5, REFUSED: 15}
    await _end_waits(limited)
    guesses = [client.login(EMAIL, f"{WRONG} {number}") for number in range(20)]
    assert await _reasons(guesses) == {"CREDENTIALS_INVALID": 1, REFUSED: 19}


async def test_guesses_at_once_at_two_replicas_are_counted_together(auth_database: Clone) -> None:
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(2):
            replica = await stack.enter_async_context(
                running_auth(auth_database.owner_url, auth_database.app_url, **LIMITED)
            )
            clients.append(await stack.enter_async_context(client_of(replica)))
        guesses = [client.login(EMAIL, WRONG) for client in clients for _ in range(10)]
        assert await _reasons(guesses) == {"CREDENTIALS_INVALID": 5, REFUSED: 15}


async def test_failures_at_many_accounts_are_counted_for_their_address(limited: RunningAuth, client: Client) -> None:
    await limited.register(EMAIL)
    sprayed = [client.login(f"person{number}@example.com", WRONG, address="203.0.113.7") for number in range(30)]
    assert await _reasons(sprayed) == {"CREDENTIALS_INVALID": 20, REFUSED: 10}
    assert (await refusal(client.login(EMAIL, address="203.0.113.7"))).reason == REFUSED
    assert (await client.login(EMAIL, address="203.0.113.8")).access_token


async def test_a_guesser_with_an_account_does_not_reset_the_address(limited: RunningAuth, client: Client) -> None:
    await limited.register("guesser@example.com")
    refused = 0
    for number in range(25):
        outcome = await _reasons([client.login(f"person{number}@example.com", WRONG, address="203.0.113.7")])
        refused += outcome[REFUSED]
        await _reasons([client.login("guesser@example.com", address="203.0.113.7")])
    assert refused >= 4


async def test_a_forged_address_does_not_help(limited: RunningAuth, client: Client) -> None:
    attempts = [
        client.login(f"person{number}@example.com", WRONG, address=f"198.51.100.{number}, 203.0.113.7")
        for number in range(30)
    ]
    assert await _reasons(attempts) == {"CREDENTIALS_INVALID": 20, REFUSED: 10}


async def test_the_addresses_of_one_ipv6_network_are_counted_together(limited: RunningAuth, client: Client) -> None:
    attempts = [
        client.login(f"person{number}@example.com", WRONG, address=f"2001:db8::{number:x}") for number in range(30)
    ]
    assert await _reasons(attempts) == {"CREDENTIALS_INVALID": 20, REFUSED: 10}


async def test_an_attempt_that_is_not_looked_at_is_not_counted(auth_database: Clone) -> None:
    async with (
        running_auth(auth_database.owner_url, auth_database.app_url, bcrypt_cost=13, **LIMITED) as auth,
        client_of(auth) as client,
    ):
        requests = [
            client.auth.Login(pb.LoginRequest(email=f"person{number}@example.com", password=WRONG), timeout=3)
            for number in range(16)
        ]
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        busy = [outcome for outcome in outcomes if _code(outcome) == "RESOURCE_EXHAUSTED"]
        assert busy
        rows = await auth.sql("SELECT FROM failed_attempts WHERE failures = 1")
        assert len(rows) == len(requests) - len(busy)


async def test_a_right_password_is_no_failure_whatever_ends_the_sign_in(auth_database: Clone) -> None:
    limits: dict[str, Any] = {**LIMITED, "account_max_failures": 2}
    urls = auth_database.owner_url, auth_database.app_url
    async with running_auth(*urls, **limits) as auth:
        await auth.register(EMAIL)
        async with auth.locked("SELECT FROM users FOR UPDATE"):
            for _ in range(auth.settings.account_max_failures):
                assert (await refusal(auth.login(EMAIL, timeout=2))).reason == "OVERLOADED"
        assert (await auth.login(EMAIL)).access_token


async def test_nothing_of_an_address_is_kept_in_the_clear(limited: RunningAuth, client: Client) -> None:
    await _fail(client, EMAIL, 1, address="203.0.113.7")
    rows = [str(dict(row)) for row in await limited.sql("SELECT *, t::text AS whole FROM failed_attempts t")]
    assert len(rows) == 2
    assert not [row for row in rows if "thandi" in row or "203.0.113.7" in row]


def _code(outcome: object) -> str:
    return outcome.code().name if isinstance(outcome, aio.AioRpcError) else "OK"


async def _end_waits(auth: RunningAuth) -> None:
    """Let the time pass that one has to wait, but none in which failures are forgotten."""
    await auth.sql("UPDATE failed_attempts SET wait_end_time = now(), count_time = now()")


async def _fail(client: Client, email: str, times: int, *, address: str = "") -> None:
    for _ in range(times):
        assert (await refusal(client.login(email, WRONG, address=address))).reason == "CREDENTIALS_INVALID"


async def _reasons(calls: Iterable[Awaitable[object]]) -> Counter[str]:
    """Make the calls at once; count their reasons, "" of those that succeeded."""
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    return Counter(described(outcome).reason if isinstance(outcome, aio.AioRpcError) else "" for outcome in outcomes)
