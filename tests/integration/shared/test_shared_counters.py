"""Rate limits on a real Redis that replicas share, and while it is frozen or gone."""

from __future__ import annotations

import asyncio
import logging
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
from redis.asyncio import Redis as Client

from interceptors.shared_windows import SharedWindows
from interceptors.windows import Hit, Windows
from services.shared import redis_server
from services.shared.assembly import rate_limit_counters
from services.shared.ids import new_id
from services.shared.metrics import ProcessMetrics
from services.shared.rate_limits import effective_tiers
from services.shared.server import Registration
from tests.support.listening import listening
from tests.support.serving import Signer, channel_to, serving
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.redis import Redis

PER_ADDRESS = 10
ANSWER_SECONDS = 1.0
MINUTE = 60
KEY = ("MONEY", "user", "u")


class Accounts(auth_service_pb2_grpc.AuthServiceServicer):
    async def Login(self, request: Any, context: Any) -> auth_service_pb2.LoginResponse:
        return auth_service_pb2.LoginResponse()

    async def Refresh(self, request: Any, context: Any) -> auth_service_pb2.RefreshResponse:
        return auth_service_pb2.RefreshResponse()


@pytest.fixture
async def shared(redis: Redis) -> AsyncIterator[SharedWindows]:
    counters = SharedWindows(rate_limit_counters(redis.url))
    yield counters
    await counters.close()


@asynccontextmanager
async def replica(redis_url: str, **options: Any) -> AsyncIterator[auth_service_pb2_grpc.AuthServiceAsyncStub]:
    service = Registration(
        auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"],
        Accounts(),
        auth_service_pb2_grpc.add_AuthServiceServicer_to_server,
    )
    async with serving([service], Signer(), redis_url=redis_url, **options) as target, channel_to(target) as channel:
        yield auth_service_pb2_grpc.AuthServiceStub(channel)


async def login(stub: auth_service_pb2_grpc.AuthServiceAsyncStub, address: str, email: str = "a@azora.world") -> str:
    """Guess a password; return the reason of a refusal, or an empty string. Must answer within a second."""
    async with asyncio.timeout(ANSWER_SECONDS):
        return await login_of_a_crowd(stub, address, email)


async def login_of_a_crowd(stub: auth_service_pb2_grpc.AuthServiceAsyncStub, address: str, email: str) -> str:
    """Guess a password, with no limit of time; return the reason of a refusal, or an empty string."""
    try:
        await stub.Login(
            auth_service_pb2.LoginRequest(email=email, password="x"), metadata=(("x-forwarded-for", address),)
        )
    except aio.AioRpcError as error:
        return error_reason(error)
    return ""


async def test_replicas_share_their_counters(redis: Redis) -> None:
    async with replica(redis.url) as one, replica(redis.url) as other:
        answers = [await login(stub, "10.0.0.1") for _ in range(PER_ADDRESS) for stub in (one, other)]
    assert answers == [""] * PER_ADDRESS + ["RATE_LIMITED"] * PER_ADDRESS


async def test_refusals_say_when_to_come_back_whoever_counts(redis: Redis) -> None:
    for counters in (redis.url, ""):
        async with replica(counters) as stub:
            for _ in range(PER_ADDRESS):
                call = stub.Login(auth_service_pb2.LoginRequest(email="a@azora.world", password="x"))
                await call
            told = dict(await call.initial_metadata() or ())
            assert (told["ratelimit-policy"], told["ratelimit-remaining"]) == ("10;w=60", "0")
            with pytest.raises(aio.AioRpcError) as refused:
                await stub.Login(auth_service_pb2.LoginRequest(email="a@azora.world", password="x"))
            told = dict(refused.value.trailing_metadata())
            assert told["retry-after"] == told["ratelimit-reset"]
            assert 1 <= int(str(told["retry-after"])) <= MINUTE + 1


@pytest.mark.parametrize(
    ("last", "this", "cost"), [(0, 3, 1), (10, 0, 1), (10, 9, 1), (7, 5, 4), (3, 10, 2), (60, 0, 9)]
)
async def test_shared_counters_decide_as_those_of_a_process_do(
    redis: Redis, shared: SharedWindows, last: int, this: int, cost: int
) -> None:
    """A minute that has `this` hits after one that had `last`."""
    limit = 10
    while True:
        minute = int(time.time() // MINUTE)
        async with Client.from_url(redis.url) as client:
            counts = {"minute": minute, "current": this, "previous": last}
            await client.hset(f"azora:rate:{':'.join(KEY)}", mapping=counts)  # type: ignore[arg-type]
        before = local_hit(minute, last, this, limit, cost)
        decided = await shared.hit(KEY, limit, cost=cost)
        after = local_hit(minute, last, this, limit, cost)
        if int(time.time() // MINUTE) == minute:
            break
    assert decided is not None
    assert all(min(pair) <= value <= max(pair) for value, *pair in zip(decided, before, after, strict=True))


def local_hit(minute: int, last: int, this: int, limit: int, cost: int) -> Hit:
    """Return what counters in this process decide now."""
    now = float(MINUTE * (minute - 1))
    counters = Windows(lambda: now)
    counters.hit(KEY, last, cost=last)
    now = float(MINUTE * minute + MINUTE - 1e-6)
    counters.hit(KEY, 1_000_000, cost=this)
    now = time.time()
    return counters.hit(KEY, limit, cost=cost)


async def test_shared_counters_forget_minutes_that_are_over(redis: Redis, shared: SharedWindows) -> None:
    async with Client.from_url(redis.url) as client:
        name = f"azora:rate:{':'.join(KEY)}"
        await client.hset(name, mapping={"minute": int(time.time() // MINUTE) - 2, "current": 9, "previous": 9})
        assert (await shared.hit(KEY, 10) or ())[:2] == (True, 9)
        assert 0 < await client.ttl(name) <= 2 * MINUTE


async def test_replicas_follow_the_limits_that_are_set(redis: Redis) -> None:
    limits = effective_tiers("CREDENTIALS.per_address=3")
    async with replica(redis.url, tiers=limits) as one, replica(redis.url, tiers=limits) as other:
        answers = [await login(stub, "10.0.2.1", f"{n}@azora.world") for n in range(2) for stub in (one, other)]
    assert answers == ["", "", "", "RATE_LIMITED"]


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


@pytest.mark.alone
@pytest.mark.parametrize("trouble", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_crowd_does_not_wait_for_lost_counters(
    redis: Redis, trouble: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = ProcessMetrics()

    def fallbacks(tier: str) -> float:
        return metrics.registry.get_sample_value("azora_rate_limit_fallbacks_total", {"tier": tier}) or 0.0

    async def seconds_of_crowd() -> float:
        started = time.monotonic()
        refreshes = (stub.Refresh(auth_service_pb2.RefreshRequest(refresh_token="x")) for _ in range(100))
        logins = (login_of_a_crowd(stub, f"10.0.4.{number}", f"{number}@azora.world") for number in range(20))
        await asyncio.gather(*refreshes, *logins)
        return time.monotonic() - started

    async with replica(redis.url, metrics=metrics) as stub:
        answered = await seconds_of_crowd()
        redis.send(trouble)
        for _ in range(2):
            assert await seconds_of_crowd() < 2 * redis_server.ANSWER_SECONDS + 3 * answered
    assert fallbacks("PUBLIC") == 200
    assert fallbacks("CREDENTIALS") == 40
    lost = [record for record in caplog.records if "do not answer" in record.message]
    assert [record.levelno for record in lost] == [logging.WARNING], "once, not for every call"


@pytest.mark.parametrize("answer", [b"+OK", b":5", b"*2\r\n:1\r\n:2", b"*3\r\n+a\r\n+b\r\n+c"])
async def test_an_answer_that_is_no_count_is_none(answer: bytes) -> None:
    """A proxy that knows no scripts says OK to them: calls are limited as without shared counters, and none fails."""

    async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := await reader.read(4096):
            writer.write(answer + b"\r\n" if b"EVAL" in asked else b"+OK\r\n" * asked.count(b"*"))

    async with listening(answer_all) as port, replica(f"redis://127.0.0.1:{port}") as stub:
        answers = [await login(stub, "10.0.6.1", f"{number}@azora.world") for number in range(PER_ADDRESS + 2)]
    assert answers[:PER_ADDRESS] == [""] * PER_ADDRESS
    assert answers[-1] == "RATE_LIMITED"


async def test_counters_that_come_back_are_used_again(
    redis: Redis,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(redis_server, "RETRY_SECONDS", 0.1)
    async with replica(redis.url) as one, replica(redis.url) as other:
        for _ in range(PER_ADDRESS):
            assert await login(one, "10.0.5.1") == ""
        redis.send(signal.SIGSTOP)
        assert await login(other, "10.0.5.1") == "", "what others have counted is not known here"
        redis.send(signal.SIGCONT)

        async def refused() -> bool:
            return await login(other, "10.0.5.1") == "RATE_LIMITED"

        await eventually(refused, within_seconds=3)
    assert "shared rate-limit counters answer again" in caplog.messages
