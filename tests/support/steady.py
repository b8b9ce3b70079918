"""Steady load on a running system: calls that are idempotent or keyed, at a fixed rate, whatever their answers do."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from azora import client
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc, token_service_pb2, token_service_pb2_grpc
from azora.education.v1 import (
    course_service_pb2,
    course_service_pb2_grpc,
    enrollment_service_pb2,
    enrollment_service_pb2_grpc,
)
from azora.payment.v1 import (
    payment_pb2,
    payment_service_pb2,
    payment_service_pb2_grpc,
    wallet_service_pb2,
    wallet_service_pb2_grpc,
)
from azora.type.v1 import money_pb2
from grpc import aio

from services.shared.ids import new_id
from tests.support.people import People
from tests.support.serving import own_connection
from tests.support.statistics import percentile
from tests.support.waiting import paced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence

    import httpx

    from tests.support.system import LocalSystem

PAYERS = 20
CHANNELS = 4
FUNDS_MINOR = 1000_00
DEADLINE_SECONDS = 10.0
STALLS_PER_SECOND = 20
"""How often the load looks how late it is itself."""
ATTEMPTS_PER_SECOND = 4
"""Of a caller who repeats a failed call."""
RATES = (300, 200, 150, 100, 50)
"""Calls a second, of which the highest is taken that the machine carries."""
HEADROOM = 1.6
"""How many times the rate the machine must be able to serve: processes that end and start take their share of it."""
WARMING_SECONDS = 1.0
CALIBRATED_SECONDS = 2.5
CALIBRATING_CALLERS = 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended."""

    call: str
    began: float
    seconds: float
    error: str = ""


@dataclass(slots=True)
class Outcomes:
    """How the calls of a load have ended so far."""

    began: float = field(default_factory=time.monotonic)
    all: list[Outcome] = field(default_factory=list)
    stalls: list[tuple[float, float]] = field(default_factory=list)
    """When the load's own event loop came to something later than it was due, and how much later."""

    def stalled(self, outcome: Outcome) -> float:
        """Return how late the load itself was while a call lasted: that is not the system's time."""
        end = outcome.began + outcome.seconds
        return max((late for at, late in self.stalls if outcome.began <= at <= end), default=0.0)

    @property
    def failed(self) -> list[Outcome]:
        """Calls that did not succeed."""
        return [outcome for outcome in self.all if outcome.error]

    @property
    def elapsed(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self.began

    def __str__(self) -> str:
        elapsed = max(outcome.began + outcome.seconds for outcome in self.all) - self.began
        seconds = [outcome.seconds for outcome in self.all]
        return (
            f"{len(self.all)} calls in {elapsed:.1f} s, {len(self.failed)} failed, "
            f"p50 {percentile(seconds, 50) * 1000:.1f} ms, p99 {percentile(seconds, 99) * 1000:.0f} ms, "
            f"max {max(seconds) * 1000:.0f} ms; {dict(Counter(outcome.error for outcome in self.failed))}"
        )


@dataclass(frozen=True, slots=True)
class Payer:
    """A signed-in person with funds."""

    metadata: client.Metadata
    user_id: str


class SteadyLoad:
    """Calls of all services through the public port, and of Auth through the mesh with Payment's identity."""

    def __init__(
        self, system: LocalSystem, http: httpx.AsyncClient, *, retries: bool, channels: int = CHANNELS
    ) -> None:
        """Call with the retries of the client library and of a patient caller, who keeps the key; or with none."""
        self._http, self._retries = http, retries
        self._channels = [_channel(system, retries=retries) for _ in range(channels)]
        self._mesh = client.connect(system.mesh, identity=system.identity("payment"), retries=retries)
        self._payers: list[Payer] = []
        self._course_id = ""
        self._paid: Counter[str] = Counter()
        self._unanswered: dict[str, Payer] = {}
        """Payments by key of which it is not known whether they were made."""

    async def prepare(self) -> None:
        """Register people and fund their wallets."""
        people = People(self._http)
        admin = await people.admin()
        self._course_id = (await self._http.get("/v1/courses")).json()["courses"][0]["id"]
        for _ in range(PAYERS):
            headers = await people.student()
            user_id = await people.fund(headers, FUNDS_MINOR, admin=admin)
            token = headers["authorization"].removeprefix("Bearer ")
            self._payers.append(Payer(client.bearer(token), user_id))

    def with_retries(self, system: LocalSystem) -> SteadyLoad:
        """Return the load of the same people through channels that retry."""
        other = SteadyLoad(system, self._http, retries=True)
        other._payers, other._course_id, other._paid = self._payers, self._course_id, self._paid
        other._unanswered = self._unanswered
        return other

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(channel.close() for channel in (*self._channels, self._mesh)))

    @asynccontextmanager
    async def running(self, rate: float) -> AsyncIterator[Outcomes]:
        """Call at a rate until the end of the block, and wait for the last answers."""
        outcomes = Outcomes()
        calls: set[asyncio.Task[None]] = set()

        async def call() -> None:
            turns = self._turns()
            async for _ in paced(rate, math.inf):
                task = asyncio.create_task(self._timed(*next(turns), outcomes))
                calls.add(task)
                task.add_done_callback(calls.discard)

        async def watch() -> None:
            async for number in paced(STALLS_PER_SECOND, math.inf):
                now = time.monotonic()
                outcomes.stalls.append((now, now - outcomes.began - number / STALLS_PER_SECOND))

        running = [asyncio.create_task(each()) for each in (call, watch)]
        try:
            yield outcomes
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*calls, *running, return_exceptions=True)

    async def most_served(self) -> float:
        """Return how many calls a second callers get who make the next one as soon as the last is answered.

        The first ones, which fill caches and pools, are not counted.
        """
        turns = self._turns()

        async def served(seconds: float) -> float:
            outcomes = Outcomes()

            async def caller() -> None:
                while outcomes.elapsed < seconds:
                    await self._timed(*next(turns), outcomes)

            await asyncio.gather(*(caller() for _ in range(CALIBRATING_CALLERS)))
            assert outcomes.failed == []
            return len(outcomes.all) / outcomes.elapsed

        await served(WARMING_SECONDS)
        return await served(CALIBRATED_SECONDS)

    async def paid_once(self) -> bool:
        """Whether each payer's balance is what their payments left: none was lost, none was made twice.

        Those that failed may have been made, on a machine too busy to answer in time; their keys tell.
        """
        for key, payer in tuple(self._unanswered.items()):
            await self._pay(self._channels[0], payer, key)
        return all([await self._balance(payer) == FUNDS_MINOR - self._paid[payer.user_id] for payer in self._payers])

    async def _balance(self, payer: Payer) -> int:
        stub: Any = wallet_service_pb2_grpc.WalletServiceStub(self._channels[0])
        response = await stub.GetWallet(wallet_service_pb2.GetWalletRequest(), metadata=payer.metadata)
        posted: int = next(balance.posted for balance in response.wallet.balances if balance.currency == "AZR")
        return posted

    async def _timed(self, name: str, call: Callable[[], Coroutine[Any, Any, None]], outcomes: Outcomes) -> None:
        began, error = time.monotonic(), ""
        async for _ in paced(ATTEMPTS_PER_SECOND, DEADLINE_SECONDS):
            try:
                await call()
            except aio.AioRpcError as failure:
                error = f"{name}: {failure.code().name} {client.error_reason(failure)} {(failure.details() or '')[:80]}"
                if self._retries:
                    continue
            else:
                error = ""
            break
        outcomes.all.append(Outcome(name, began, time.monotonic() - began, error))

    def _turns(self) -> Iterator[tuple[str, Callable[[], Coroutine[Any, Any, None]]]]:
        """Give call after call, of all kinds, payers and connections in turn."""
        kinds = (self._pay, self._wallet, self._course, self._enrollments, self._profile)
        everyone = itertools.cycle(self._payers)
        for number, channel in enumerate(itertools.cycle(self._channels)):
            payer, kind = next(everyone), kinds[number % len(kinds)]
            if number % (2 * len(kinds)) == 0:
                yield "mesh", self._keys
            yield kind.__name__.strip("_"), _bound(kind, channel, payer, new_id())

    async def _pay(self, channel: aio.Channel, payer: Payer, key: str) -> None:
        stub: Any = payment_service_pb2_grpc.PaymentServiceStub(channel)
        amount = money_pb2.Money(minor_units=1, currency="AZR")
        request = payment_service_pb2.CreatePaymentRequest(
            type=payment_pb2.PAYMENT_TYPE_DONATION, amount=amount, request_id=key
        )
        self._unanswered[key] = payer
        await stub.CreatePayment(request, metadata=payer.metadata, timeout=DEADLINE_SECONDS)
        if self._unanswered.pop(key, None):
            self._paid[payer.user_id] += 1

    async def _wallet(self, channel: aio.Channel, payer: Payer, _key: str) -> None:
        stub: Any = wallet_service_pb2_grpc.WalletServiceStub(channel)
        request = wallet_service_pb2.GetWalletRequest()
        await stub.GetWallet(request, metadata=payer.metadata, timeout=DEADLINE_SECONDS)

    async def _course(self, channel: aio.Channel, payer: Payer, _key: str) -> None:
        stub: Any = course_service_pb2_grpc.CourseServiceStub(channel)
        request = course_service_pb2.GetCourseRequest(course_id=self._course_id)
        await stub.GetCourse(request, metadata=payer.metadata, timeout=DEADLINE_SECONDS)

    async def _enrollments(self, channel: aio.Channel, payer: Payer, _key: str) -> None:
        stub: Any = enrollment_service_pb2_grpc.EnrollmentServiceStub(channel)
        request = enrollment_service_pb2.ListEnrollmentsRequest()
        await stub.ListEnrollments(request, metadata=payer.metadata, timeout=DEADLINE_SECONDS)

    async def _profile(self, channel: aio.Channel, payer: Payer, _key: str) -> None:
        stub: Any = auth_service_pb2_grpc.AuthServiceStub(channel)
        request = auth_service_pb2.GetProfileRequest()
        await stub.GetProfile(request, metadata=payer.metadata, timeout=DEADLINE_SECONDS)

    async def _keys(self) -> None:
        stub: Any = token_service_pb2_grpc.TokenServiceStub(self._mesh)
        await stub.GetJwks(token_service_pb2.GetJwksRequest(), timeout=DEADLINE_SECONDS)


async def carried_rate(load: SteadyLoad, rates: Sequence[int] = RATES) -> int:
    """Return the highest of the rates that leaves some to spare of what callers in a closed loop are served."""
    served = await load.most_served()
    for rate in rates:
        if rate * HEADROOM <= served:
            return rate
    raise AssertionError(f"this machine does not carry {rates[-1]} calls a second: it serves {served:.0f} at most")


def _bound(
    kind: Callable[[aio.Channel, Payer, str], Coroutine[Any, Any, None]], channel: aio.Channel, payer: Payer, key: str
) -> Callable[[], Coroutine[Any, Any, None]]:
    return lambda: kind(channel, payer, key)


def _channel(system: LocalSystem, *, retries: bool) -> aio.Channel:
    """Return a connection of its own to the public port."""
    if retries:
        return client.connect(system.target)
    return own_connection(system.target)
