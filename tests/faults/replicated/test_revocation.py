"""Two replicas of each service: every one refuses what was revoked within 5 s, and goes on while Auth is away."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc
import jwt
import pytest
import pytest_asyncio
from azora import client
from azora.payment.v1 import wallet_service_pb2, wallet_service_pb2_grpc

from services.auth.revocations.model import Cause
from services.shared.ids import new_id
from tests.support.endings import ENDS, Victim, victim
from tests.support.http import plain_http
from tests.support.hurt import FRESH_SECONDS
from tests.support.people import People
from tests.support.services import SERVICES
from tests.support.waiting import eventually, paced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import httpx

    from services.local.processes import Identity
    from tests.support.endings import End
    from tests.support.system import LocalSystem

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

SEEN_SECONDS = 5.0
AWAY_SECONDS = {"frozen": 16.0, "killed": 8.0}
BACK_SECONDS = {"frozen": 10.0, "killed": 30.0}
"""One that was killed has to start."""
AUTHS = ("auth", "auth-1")
METHODS = {
    "auth": "/azora.auth.v1.UserService/ListRoles",
    "education": "/azora.education.v1.EnrollmentService/ListEnrollments",
    "payment": "/azora.payment.v1.WalletService/GetWallet",
}
"""A read of each service for those who are signed in, by an API key, too, which looks at no session itself."""
REPLICAS = [replica for name in SERVICES for replica in (name, f"{name}-1")]
READS = ("/v1/auth/profile", "/v1/enrollments", "/v1/wallet")
"""A read of each service, for those who are signed in."""
READINGS = 6
"""Of each path: enough to meet both replicas."""
ENDS_ONE = {Cause.SIGNED_OUT, Cause.REFRESH_TOKEN_REUSED, Cause.SESSION_REVOKED, Cause.API_KEY_REVOKED}
"""What leaves the person's other session as it is."""
GIFT = {"type": "PAYMENT_TYPE_DONATION", "amount": {"minorUnits": "1", "currency": "AZR"}}


@pytest.fixture
async def http(replicated: LocalSystem) -> AsyncIterator[httpx.AsyncClient]:
    async with plain_http(replicated.edge, timeout=10) as connection:
        yield connection


async def sign_in(http: httpx.AsyncClient) -> dict[str, Any]:
    body = {"email": "student@azora.world", "password": "Student@2024!"}
    session: dict[str, Any] = (await http.post("/v1/auth/login", json=body)).json()
    return session | {"headers": {"authorization": f"Bearer {session['accessToken']}"}}


@pytest_asyncio.fixture(loop_scope="module")
async def replicas(replicated: LocalSystem) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    """Give a channel to every replica by itself."""
    envoy = replicated.identity("envoy")
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(
                client.connect(replicated.address(name), identity=envoy, server_name="localhost", retries=False)
            )
            for name in REPLICAS
        }


async def codes(replicas: Mapping[str, grpc.aio.Channel], access_token: str) -> dict[str, grpc.StatusCode]:
    """Ask every replica by itself."""
    methods: list[Any] = [channel.unary_unary(METHODS[name.partition("-")[0]]) for name, channel in replicas.items()]
    metadata = client.bearer(access_token)
    answers = await asyncio.gather(*(method(b"", metadata=metadata, timeout=5).code() for method in methods))
    return dict(zip(replicas, answers, strict=True))


async def test_every_replica_refuses_the_tokens_of_an_ended_session(
    replicated: LocalSystem, replicas: dict[str, grpc.aio.Channel], http: httpx.AsyncClient
) -> None:
    lost, mine = await sign_in(http), await sign_in(http)
    assert set((await codes(replicas, lost["accessToken"])).values()) == {grpc.StatusCode.OK}
    async with client.connect(replicated.target) as channel:
        stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
        request = wallet_service_pb2.WatchTransactionsRequest()
        watch = stub.WatchTransactions(request, metadata=client.bearer(lost["accessToken"]))
        await watch.read()
        listed = (await http.get("/v1/auth/sessions", headers=lost["headers"])).json()["sessions"]
        (current,) = [session["id"] for session in listed if session["current"]]
        began = time.monotonic()
        assert (await http.delete(f"/v1/auth/sessions/{current}", headers=mine["headers"])).json() == {}

        async def refused() -> bool:
            return set((await codes(replicas, lost["accessToken"])).values()) == {grpc.StatusCode.UNAUTHENTICATED}

        await eventually(refused, within_seconds=SEEN_SECONDS)
        with pytest.raises(client.CallError) as ended:  # Its status comes after what it has sent.
            async for _ in watch:
                pass
        assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert time.monotonic() - began < SEEN_SECONDS + 6, "a watch checks every 5 s"
    assert set((await codes(replicas, mine["accessToken"])).values()) == {grpc.StatusCode.OK}


async def test_every_replica_refuses_what_any_cause_ended(
    replicas: dict[str, grpc.aio.Channel], http: httpx.AsyncClient
) -> None:
    assert {cause for cause, _ in ENDS} == {*Cause} - {Cause.SIGNING_KEY_REVOKED}
    people = People(http)
    victims = await asyncio.gather(*(victim(people, cause) for cause, _ in ENDS))

    async def ended(person: Victim, end: End) -> None:
        token = person.lost["accessToken"]
        assert set((await codes(replicas, token)).values()) == {grpc.StatusCode.OK}, "remembered by every replica"
        await end(person)

        async def refused() -> bool:
            return set((await codes(replicas, token)).values()) == {grpc.StatusCode.UNAUTHENTICATED}

        await eventually(refused, within_seconds=SEEN_SECONDS)

    errors = await asyncio.gather(
        *(ended(person, end) for person, (_, end) in zip(victims, ENDS, strict=True)), return_exceptions=True
    )
    failed = {cause: error for (cause, _), error in zip(ENDS, errors, strict=True) if error}
    assert failed == {}
    for (cause, _), person in zip(ENDS, victims, strict=True):
        if cause in ENDS_ONE:
            assert set((await codes(replicas, person.mine["accessToken"])).values()) == {grpc.StatusCode.OK}, cause


def running_auths(system: LocalSystem) -> list[Identity]:
    return [identity for name, identity in system.processes().items() if name in AUTHS]


async def take_away(system: LocalSystem, how: str) -> list[Identity]:
    """Freeze Auth, which answers nothing then, or kill it, and freeze what starts in its place before it listens."""
    away = running_auths(system)
    if how == "killed":
        gone = away
        for auth in gone:
            auth.send(signal.SIGKILL)

        async def successors() -> list[Identity]:
            found = [auth for auth in running_auths(system) if auth not in gone]
            return found if len(found) == len(gone) else []

        away = await eventually(successors)
    for auth in away:
        auth.send(signal.SIGSTOP)
    return away


@pytest.mark.parametrize("how", AWAY_SECONDS)
async def test_auth_away_stops_nobody_but_where_fresh_sessions_are_required(
    replicated: LocalSystem, http: httpx.AsyncClient, how: str
) -> None:
    headers = (await sign_in(http))["headers"]
    reads, payments = set(), []

    async def read(path: str) -> None:
        reads.add((await http.get(path, headers=headers)).status_code)

    async def pay(at: float) -> None:
        answer = await http.post("/v1/payments", json=GIFT, headers=headers | {"idempotency-key": new_id()})
        payments.append((at, answer.status_code))

    away = await take_away(replicated, how)
    began = time.monotonic()
    try:
        async with asyncio.TaskGroup() as tasks:
            async for _ in paced(2, AWAY_SECONDS[how]):
                for path in ("/v1/wallet", "/v1/enrollments", "/v1/courses"):
                    tasks.create_task(read(path))
                tasks.create_task(pay(time.monotonic() - began))
    finally:
        for auth in away:
            auth.send(signal.SIGCONT)
    assert reads == {200}
    assert {code for at, code in payments if at < FRESH_SECONDS - 3} == {200}
    assert {code for at, code in payments if at > FRESH_SECONDS + 2} == {503}

    async def paying() -> bool:
        answer = await http.post("/v1/payments", json=GIFT, headers=headers)
        return answer.status_code == 200

    await eventually(paying, within_seconds=BACK_SECONDS[how])


def kid(token: str) -> str:
    found: str = jwt.get_unverified_header(token)["kid"]
    return found


async def tokens_of(http: httpx.AsyncClient) -> tuple[str, str]:
    """Return an access token and a refresh token."""
    session = await sign_in(http)
    return session["accessToken"], session["refreshToken"]


async def statuses(http: httpx.AsyncClient, token: str) -> set[int]:
    """Read of every service, often enough to meet every replica; return how it was answered."""
    headers = {"authorization": f"Bearer {token}"}
    answers = await asyncio.gather(*(http.get(path, headers=headers) for path in READS * READINGS))
    return {answer.status_code for answer in answers}


async def test_a_revoked_key_is_refused_by_every_replica_within_5_seconds_and_nobody_has_to_sign_in(
    replicated: LocalSystem, http: httpx.AsyncClient
) -> None:
    leaked, refresh_token = await tokens_of(http)
    assert await statuses(http, leaked) == {200}, "remembered by every replica, and by Envoy"
    said = await asyncio.to_thread(replicated.azora, "keys", "revoke", kid(leaked))
    assert said.returncode == 0, said.stderr
    begun = time.monotonic()

    async def refused() -> bool:
        return await statuses(http, leaked) == {401}

    await eventually(refused, within_seconds=SEEN_SECONDS)
    assert time.monotonic() - begun < SEEN_SECONDS
    refreshed = (await http.post("/v1/auth/refresh", json={"refreshToken": refresh_token})).raise_for_status()
    token = refreshed.json()["accessToken"]

    async def signs_anew() -> bool:
        return kid((await tokens_of(http))[0]) != kid(leaked)

    await eventually(signs_anew)
    assert token
    assert await statuses(http, leaked) == {401}
