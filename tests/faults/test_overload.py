"""Twice as many calls as there is capacity for: it is used as before, the rest is refused at once, all stays up."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
import httpx
import pytest
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from grpc import aio

from tests.support.people import People
from tests.support.statistics import percentile
from tests.support.system import local_system
from tests.support.waiting import eventually, paced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from tests.support.system import LocalSystem

logger = logging.getLogger(__name__)
pytestmark = pytest.mark.alone
PEAK_SECONDS, OVERLOAD_SECONDS, RECOVERY_SECONDS = 3.0, 6.0, 10.0
FACTOR = 2
MIN_GOODPUT = 0.8
"""Of the peak."""
MAX_REFUSAL_SECONDS = 0.05
PROBES_PER_SECOND = 2.0
CONNECTIONS = 12
"""The edge takes 64 calls at once on each: together more than wait at Envoy."""
LOGIN = auth_service_pb2.LoginRequest(email="student@azora.world", password="Student@2024!")


@dataclass(slots=True)
class Seen:
    """How calls ended, and how long those took that were refused."""

    codes: Counter[grpc.StatusCode] = field(default_factory=Counter)
    refusal_seconds: list[float] = field(default_factory=list)
    explained: int = 0
    """Refusals that say when to come again."""
    served_at: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Load:
    """Calls of one kind, told apart by number."""

    call: Callable[[int], Awaitable[object]]

    async def once(self, seen: Seen, number: int) -> None:
        """Make a call and note its end."""
        began = time.perf_counter()
        try:
            await self.call(number)
        except aio.AioRpcError as error:
            seen.codes[error.code()] += 1
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                seen.explained += "retry-after" in dict(error.trailing_metadata() or ())
                seen.refusal_seconds.append(time.perf_counter() - began)
        else:
            seen.codes[grpc.StatusCode.OK] += 1
            seen.served_at.append(time.perf_counter())

    async def peak(self, callers: int) -> float:
        """Return the calls a second that so many callers get served, one after the other."""
        seen, end = Seen(), time.perf_counter() + PEAK_SECONDS

        async def caller(number: int) -> None:
            while time.perf_counter() < end:
                await self.once(seen, number)

        await asyncio.gather(*map(caller, range(callers)))
        assert set(seen.codes) == {grpc.StatusCode.OK}
        return sum(at < end for at in seen.served_at) / PEAK_SECONDS

    async def overload(self, per_second: float, *, burst: int) -> tuple[float, Seen]:
        """Make `burst` calls at once and then more at a constant rate; return how many a second were served."""
        seen, end = Seen(), time.perf_counter() + OVERLOAD_SECONDS
        async with asyncio.TaskGroup() as calls:
            for number in range(burst):
                calls.create_task(self.once(seen, number))
            async for number in paced(per_second, OVERLOAD_SECONDS):
                calls.create_task(self.once(seen, number))
        return sum(at < end for at in seen.served_at) / OVERLOAD_SECONDS, seen


@pytest.fixture(scope="module")
def busy_system() -> Iterator[LocalSystem]:
    """Run a system in which it costs as much to check a password as that it, and nothing else, bounds sign-ins."""
    with local_system(AZORA_BCRYPT_COST="10") as system:
        system.start()
        yield system
        system.stop()


@asynccontextmanager
async def connections(system: LocalSystem) -> AsyncIterator[list[aio.Channel]]:
    """Give connections of their own to the edge."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                aio.insecure_channel(system.target, options=[("grpc.use_local_subchannel_pool", 1)])
            )
            for _ in range(CONNECTIONS)
        ]


async def probe(http: httpx.AsyncClient, sessions: Sequence[dict[str, str]]) -> None:
    """Ask for health and sign someone out, several times a second while the overload lasts: none may be refused."""
    count = int(OVERLOAD_SECONDS * PROBES_PER_SECOND)
    async for number in paced(PROBES_PER_SECOND, OVERLOAD_SECONDS):
        if number < count:
            health = await http.get("/health")
            assert (health.status_code, health.json()["status"]) == (200, "healthy"), health.text
            signed_out = await http.post("/v1/auth/logout", json={}, headers=sessions[number])
            assert signed_out.status_code == 200, signed_out.text


async def overloaded(system: LocalSystem, load: Load, *, callers: int, burst: int) -> None:
    """Overload the system and check all that must hold. `burst` is more than may wait."""
    async with httpx.AsyncClient(base_url=system.edge, timeout=5, trust_env=False) as http:
        people = People(http)
        sessions = [await people.student() for _ in range(int(OVERLOAD_SECONDS * PROBES_PER_SECOND))]
        await load.peak(callers)
        before = await load.peak(callers)
        (goodput, seen), _ = await asyncio.gather(load.overload(FACTOR * before, burst=burst), probe(http, sessions))

        async def normal() -> bool:
            again = Seen()
            await asyncio.gather(*(load.once(again, number) for number in range(callers)))
            return again.codes[grpc.StatusCode.OK] == callers

        await eventually(normal, within_seconds=RECOVERY_SECONDS)
        # By what the machine had to give meanwhile, which others may use too.
        peak = (before + await load.peak(callers)) / 2
    half, most = (percentile(seen.refusal_seconds or [0], percent) for percent in (50, 99))
    codes = {code.name: count for code, count in seen.codes.items()}
    logger.info("peak %.0f/s, goodput %.0f/s, %s, refusals p50 %.3f s, p99 %.3f s", peak, goodput, codes, half, most)
    assert set(seen.codes) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert goodput >= MIN_GOODPUT * peak
    assert seen.refusal_seconds, "this was no overload"
    assert seen.explained == len(seen.refusal_seconds)
    assert half < MAX_REFUSAL_SECONDS


async def test_overload_by_sign_ins(busy_system: LocalSystem) -> None:
    async with connections(busy_system) as channels:
        stubs = [auth_service_pb2_grpc.AuthServiceStub(channel) for channel in channels]
        await overloaded(
            busy_system, Load(lambda number: stubs[number % CONNECTIONS].Login(LOGIN)), callers=4, burst=128
        )
