"""Rate limits on a real Redis that replicas share, and while it is frozen or gone."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from azora.client import bearer, error_reason
from azora.payment.v1 import payment_service_pb2, payment_service_pb2_grpc
from azora.type.v1 import money_pb2
from grpc import aio

from interceptors import rate_limit
from services.shared.ids import new_id
from services.shared.server import Registration
from tests.support.redis import running_redis
from tests.support.serving import Signer, channel_to, serving, short_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.redis import Redis

PER_ADDRESS, PER_ACCOUNT = 10, 5
ANSWER_SECONDS = 1.0
STORE_SECONDS = rate_limit.STORE_TIMEOUT_SECONDS


class Accounts(auth_service_pb2_grpc.AuthServiceServicer):
    async def Login(self, request: Any, context: Any) -> auth_service_pb2.LoginResponse:
        return auth_service_pb2.LoginResponse()

    async def Refresh(self, request: Any, context: Any) -> auth_service_pb2.RefreshResponse:
        return auth_service_pb2.RefreshResponse()


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    async with short_folder() as folder:
        with running_redis(folder) as running:
            yield running


@asynccontextmanager
async def replica(redis_url: str) -> AsyncIterator[auth_service_pb2_grpc.AuthServiceAsyncStub]:
    service = Registration(
        auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"],
        Accounts(),
        auth_service_pb2_grpc.add_AuthServiceServicer_to_server,
    )
    async with serving([service], Signer(), redis_url=redis_url) as target, channel_to(target) as channel:
        yield auth_service_pb2_grpc.AuthServiceStub(channel)


async def login(stub: auth_service_pb2_grpc.AuthServiceAsyncStub, address: str, email: str = "a@azora.world") -> str:
    """Guess a password; return the reason of a refusal, or an empty string. Must answer within a second."""
    started = time.monotonic()
    try:
        await stub.Login(
            auth_service_pb2.LoginRequest(email=email, password="x"), metadata=(("x-forwarded-for", address),)
        )
    except aio.AioRpcError as error:
        return error_reason(error)
    finally:
        assert time.monotonic() - started < ANSWER_SECONDS
    return ""


async def test_replicas_share_their_counters(redis: Redis) -> None:
    async with replica(redis.url) as one, replica(redis.url) as other:
        answers = [await login(stub, f"10.0.0.{number}") for number in range(PER_ACCOUNT) for stub in (one, other)]
    assert answers == [""] * PER_ACCOUNT + ["RATE_LIMITED"] * PER_ACCOUNT


class Payments(payment_service_pb2_grpc.PaymentServiceServicer):
    async def BatchCreateTransfers(
        self, request: Any, context: Any
    ) -> payment_service_pb2.BatchCreateTransfersResponse:
        return payment_service_pb2.BatchCreateTransfersResponse()


async def test_replicas_count_the_items_of_a_batch_together(redis: Redis) -> None:
    signer = Signer()
    service = Registration(
        payment_service_pb2.DESCRIPTOR.services_by_name["PaymentService"],
        Payments(),
        payment_service_pb2_grpc.add_PaymentServiceServicer_to_server,
    )
    metadata = bearer(signer.token())
    one = payment_service_pb2.BatchTransfer(
        target_user_id=new_id(), amount=money_pb2.Money(minor_units=1, currency="AZR")
    )
    answers = []
    async with AsyncExitStack() as stack:
        for items in (40, 50, 10, 200):  # The limit is 60, and a call that is refused has counted as one.
            target = await stack.enter_async_context(serving([service], signer, redis_url=redis.url))
            channel = await stack.enter_async_context(channel_to(target))
            batch = payment_service_pb2.BatchCreateTransfersRequest(transfers=[one] * items)
            try:
                await payment_service_pb2_grpc.PaymentServiceStub(channel).BatchCreateTransfers(
                    batch, metadata=metadata
                )
                answers.append("")
            except aio.AioRpcError as error:
                answers.append(error_reason(error))
    assert answers == ["", "RATE_LIMITED", "", "RATE_LIMITED"]


@pytest.mark.parametrize("trouble", [signal.SIGSTOP, signal.SIGKILL])
async def test_without_counters_guessing_stays_slow_and_the_rest_goes_on(redis: Redis, trouble: signal.Signals) -> None:
    async with replica(redis.url) as stub:
        assert await login(stub, "10.0.1.1", "first@azora.world") == ""
        redis.send(trouble)
        answers = [await login(stub, "10.0.1.1", f"{number}@azora.world") for number in range(PER_ADDRESS + 2)]
        # Where a minute ends meanwhile, a sliding window lets one more through.
        assert answers[:PER_ADDRESS] == [""] * PER_ADDRESS
        assert answers[-1] == "RATE_LIMITED"
        refreshed = auth_service_pb2.RefreshRequest(refresh_token="x")
        for _ in range(20):
            await stub.Refresh(refreshed, metadata=(("x-forwarded-for", "10.0.1.1"),), timeout=ANSWER_SECONDS)


async def test_one_call_finds_out_whether_the_counters_are_back_and_no_other_waits(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All calls within half a second waited for half a second, again and again."""
    monkeypatch.setattr(rate_limit, "STORE_RETRY_SECONDS", 0.0)
    request = auth_service_pb2.RefreshRequest(refresh_token="x")
    async with replica(redis.url) as stub:
        await stub.Refresh(request)
        redis.send(signal.SIGSTOP)
        await stub.Refresh(request)
        monkeypatch.setattr(rate_limit, "STORE_RETRY_SECONDS", 60.0)

        async def seconds() -> float:
            started = time.monotonic()
            await stub.Refresh(request)
            return time.monotonic() - started

        waited = [taken for taken in await asyncio.gather(*(seconds() for _ in range(20))) if taken > STORE_SECONDS]
        redis.send(signal.SIGCONT)
    assert len(waited) == 1
