"""A process that is busy refuses calls, those of low priority first, and is not taken for a dead one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from azora.client import bearer, error_reason
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from interceptors.admission import SHARES, TIER_SHARES, Admission
from services.compiler.contract import load_contract
from services.shared.errors import Overloaded
from services.shared.metrics import ProcessMetrics
from services.shared.policy import Priority
from services.shared.principal import Request
from services.shared.server import Registration
from tests.support.refusals import described
from tests.support.serving import Signer, channel_to, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interceptors.base import Call

SERVING = health_pb2.HealthCheckResponse.SERVING
POLICIES = load_contract().policies
LOGIN, LOGOUT, REFRESH = (f"/azora.auth.v1.AuthService/{name}" for name in ("Login", "Logout", "Refresh"))
BROWSE, PROFILE = "/azora.education.v1.CourseService/GetCourse", "/azora.auth.v1.AuthService/GetProfile"
PAY, HOLD = (f"/azora.payment.v1.PaymentService/{name}" for name in ("CreatePayment", "CreateHold"))
PLACES = 10


class Accounts(auth_service_pb2_grpc.AuthServiceServicer):
    """Keeps a call until it is let go."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.let_go = asyncio.Event()

    async def GetProfile(self, request: Any, context: Any) -> auth_service_pb2.GetProfileResponse:
        self.entered.set()
        await self.let_go.wait()
        return auth_service_pb2.GetProfileResponse()

    async def Logout(self, request: Any, context: Any) -> auth_service_pb2.LogoutResponse:
        return auth_service_pb2.LogoutResponse()


class Calling:
    """A call as Admission knows it."""

    def __init__(self, path: str, *, service: bool = False) -> None:
        self.policy = POLICIES[path]
        self.headers = {"x-forwarded-client-cert": "URI=..."} if service else {}
        self.served = Request()
        self.entered = asyncio.Event()
        self.let_go = asyncio.Event()

    async def proceed(self) -> None:
        self.entered.set()
        await self.let_go.wait()


@asynccontextmanager
async def served(admission: Admission, path: str, count: int = 1, *, service: bool = False) -> AsyncIterator[Calling]:
    """Serve so many calls until the end of the block; give the last."""
    calls = [Calling(path, service=service) for _ in range(count)]
    tasks = [asyncio.create_task(_around(admission, call)) for call in calls]
    await asyncio.wait_for(asyncio.gather(*(call.entered.wait() for call in calls)), 1)
    try:
        yield calls[-1]
    finally:
        for call in calls:
            call.let_go.set()
        await asyncio.gather(*tasks)


async def _around(admission: Admission, calling: Calling) -> None:
    call: Call = calling  # type: ignore[assignment] # All of one that it looks at.
    await admission.around(call, calling.proceed)


async def refused(admission: Admission, path: str, *, service: bool = False) -> bool:
    """Whether one more call is refused, and at once."""
    calling = Calling(path, service=service)
    calling.let_go.set()
    try:
        await asyncio.wait_for(_around(admission, calling), 0.1)
    except Overloaded:
        return True
    return False


async def test_a_full_process_refuses_with_a_reason_and_still_answers_for_its_health_and_signs_out() -> None:
    """Its health checks were refused too, so Envoy took it out, and with it every call of everyone."""
    accounts, signer = Accounts(), Signer()
    metadata = bearer(signer.token())
    request = auth_service_pb2.GetProfileRequest()
    async with (
        serving([Registration.of(accounts)], signer, max_concurrent_rpcs=1) as target,
        channel_to(target) as channel,
    ):
        stub = auth_service_pb2_grpc.AuthServiceStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        kept = asyncio.ensure_future(stub.GetProfile(request, metadata=metadata))
        await accounts.entered.wait()
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.GetProfile(request, metadata=metadata)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert described(caught.value).reason == "OVERLOADED"
        assert dict(caught.value.trailing_metadata() or ())["retry-after"] == "1"
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
        await stub.Logout(auth_service_pb2.LogoutRequest(), metadata=metadata)
        accounts.let_go.set()
        await kept
        await stub.GetProfile(request, metadata=metadata)


async def test_the_health_of_an_unknown_service_is_refused_with_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    """The package aborted the call by itself: a bare status, and an "unhandled error" in the log, for anyone."""
    async with serving([], Signer()) as target, channel_to(target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert error_reason(caught.value) == "SERVICE_UNKNOWN"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_browsing_is_refused_before_money_and_money_before_signing_out() -> None:
    admission = Admission(PLACES)
    low, normal = (int(SHARES[priority] * PLACES) for priority in (Priority.LOW, Priority.NORMAL))
    async with served(admission, PROFILE, low):
        assert await refused(admission, BROWSE)
        assert not await refused(admission, REFRESH)
        async with served(admission, PAY, normal - low):
            assert await refused(admission, PROFILE)
            assert not await refused(admission, PAY)
            async with served(admission, PAY, PLACES - normal):
                assert await refused(admission, PAY)
                assert not await refused(admission, LOGOUT)
    assert not await refused(admission, BROWSE)


async def test_calls_that_check_passwords_leave_places_to_everyone_else() -> None:
    admission = Admission(64)
    async with served(admission, LOGIN, int(TIER_SHARES["CREDENTIALS"] * 64)):
        assert await refused(admission, LOGIN)
        assert not await refused(admission, PROFILE)
    assert not await refused(admission, LOGIN)


async def test_services_have_places_that_clients_cannot_take() -> None:
    admission = Admission(PLACES)
    async with served(admission, PAY, PLACES), served(admission, HOLD, PLACES, service=True):
        assert await refused(admission, HOLD, service=True)
    async with served(admission, HOLD, PLACES, service=True):
        assert not await refused(admission, PAY)


async def test_a_service_that_makes_us_wait_for_a_service_waits_in_the_place_of_a_client() -> None:
    admission = Admission(1)
    async with served(admission, HOLD, service=True) as first:
        assert first.served.before_waiting is not None
        first.served.before_waiting()
        first.served.before_waiting()  # Of its next call.
        async with served(admission, HOLD, service=True) as second:
            assert await refused(admission, PAY)
            assert second.served.before_waiting is not None
            with pytest.raises(Overloaded):
                second.served.before_waiting()
    assert not await refused(admission, PAY)
    assert not await refused(admission, HOLD, service=True)


def test_every_method_has_a_priority_and_only_signing_out_is_never_refused() -> None:
    critical = {path for path, policy in POLICIES.items() if policy.tier and policy.priority is Priority.CRITICAL}
    assert critical == {LOGOUT, *(f"/azora.auth.v1.TokenService/{name}" for name in ("Revoke", "RevokeToken"))}
    money = {path for path, policy in POLICIES.items() if policy.tier and policy.tier.name == "MONEY"}
    assert {POLICIES[path].priority for path in money} == {Priority.HIGH}
    streams = {policy.priority for policy in POLICIES.values() if policy.server_streaming and not policy.tier}
    assert streams == {Priority.LOW}


@pytest.mark.alone
async def test_refusals_are_quick_by_the_histogram_while_the_process_is_busy() -> None:
    """A call that is refused waits neither for those that are served nor, more than a turn or two, for the loop."""
    metrics, signer, accounts = ProcessMetrics(), Signer(), Accounts()
    metadata = bearer(signer.token())
    loop = asyncio.get_running_loop()

    def work() -> None:
        sum(range(5_000))  # A tenth of a millisecond of the event loop, or more, in every turn.
        if not accounts.let_go.is_set():
            loop.call_soon(work)

    async with (
        serving([Registration.of(accounts)], signer, metrics=metrics, scale=1000, max_concurrent_rpcs=1) as target,
        channel_to(target) as channel,
    ):
        stub = auth_service_pb2_grpc.AuthServiceStub(channel)
        request = auth_service_pb2.GetProfileRequest()
        kept = asyncio.ensure_future(stub.GetProfile(request, metadata=metadata))
        await accounts.entered.wait()
        work()
        calls = [stub.GetProfile(request, metadata=metadata) for _ in range(40)]
        codes = {await call.code() for call in calls}
        accounts.let_go.set()
        await kept
    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    labels = {"method": PROFILE[1:], "code": "RESOURCE_EXHAUSTED"}
    quick = metrics.registry.get_sample_value("azora_rpc_duration_seconds_bucket", labels | {"le": "0.05"})
    assert quick is not None
    assert quick >= len(calls) - 1
