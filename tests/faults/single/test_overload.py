"""More calls than there is capacity for: it is used as before, the rest is refused at once, all stays up."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.hurt import say
from tests.support.lean import LeanClient, encoded
from tests.support.people import People
from tests.support.statistics import percentile
from tests.support.waiting import eventually, paced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.lean import Answer
    from tests.support.system import LocalSystem

pytestmark = pytest.mark.alone
PEAK_SECONDS, OVERLOAD_SECONDS, RECOVERY_SECONDS = 2.0, 5.0, 10.0
FACTOR = 2
MIN_GOODPUT = 0.8
"""Of the peak."""
MAX_REFUSAL_SECONDS = 0.05
MAX_REPEATED = 0.05
"""Share of the answers that took a second attempt."""
PROBES_PER_SECOND = 2.0
CONNECTIONS = 512
"""More than are served and wait at once."""


@dataclass(slots=True)
class Seen:
    """How calls ended, and how long those took that were refused."""

    statuses: Counter[int] = field(default_factory=Counter)
    refusal_seconds: list[float] = field(default_factory=list)
    """Of the calls at a rate: those of a burst wait for each other, too, on their way."""
    explained: int = 0
    """Refusals that say when to come again."""
    served_at: list[float] = field(default_factory=list)

    def note(self, answer: Answer, *, burst: bool = False) -> None:
        """Note how a call ended."""
        self.statuses[answer.status] += 1
        if answer.status == httpx.codes.OK:
            self.served_at.append(time.perf_counter())
        elif answer.status == httpx.codes.TOO_MANY_REQUESTS:
            if not burst:
                self.refusal_seconds.append(answer.seconds)
            self.explained += b"retry-after: " in answer.content and b"google.rpc.RetryInfo" in answer.content

    def served(self, until: float) -> int:
        """Return how many calls were served until then."""
        return sum(at < until for at in self.served_at)


@dataclass(frozen=True, slots=True)
class Load:
    """Calls of one kind: each of the requests in turn."""

    client: LeanClient
    requests: Sequence[bytes]

    async def once(self, seen: Seen, number: int) -> None:
        """Make a call and note its end."""
        seen.note(await self.client.send(self.requests[number % len(self.requests)]))

    async def peak(self, callers: int) -> float:
        """Return the calls a second that so many callers get served, one after the other."""
        seen, end = Seen(), time.perf_counter() + PEAK_SECONDS

        async def caller(number: int) -> None:
            while time.perf_counter() < end:
                await self.once(seen, number)
                number += callers

        await asyncio.gather(*map(caller, range(callers)))
        assert set(seen.statuses) == {httpx.codes.OK}
        return seen.served(end) / PEAK_SECONDS

    async def overload(self, per_second: float, *, burst: int) -> tuple[float, Seen]:
        """Make `burst` calls at once and then more at a constant rate; return how many a second were served."""
        seen, end = Seen(), time.perf_counter() + OVERLOAD_SECONDS
        answers: list[asyncio.Future[Answer]] = []

        def send(number: int, *, burst: bool = False) -> None:
            answer = self.client.send(self.requests[number % len(self.requests)])
            answer.add_done_callback(lambda done: seen.note(done.result(), burst=burst))
            answers.append(answer)

        for number in range(burst):
            send(number, burst=True)
        async for number in paced(per_second, OVERLOAD_SECONDS):
            send(number)
        await asyncio.gather(*answers)
        return seen.served(end) / OVERLOAD_SECONDS, seen


async def probe(http: httpx.AsyncClient, sessions: Sequence[dict[str, str]]) -> None:
    """Ask for health and sign someone out, several times a second while the overload lasts: none may be refused."""
    count = int(OVERLOAD_SECONDS * PROBES_PER_SECOND)
    async for number in paced(PROBES_PER_SECOND, OVERLOAD_SECONDS):
        if number < count:
            health = await http.get("/health")
            assert (health.status_code, health.json()["status"]) == (200, "healthy"), health.text
            signed_out = await http.post("/v1/auth/logout", json={}, headers=sessions[number])
            assert signed_out.status_code == 200, signed_out.text


async def overloaded(
    system: LocalSystem, load: Load, config: pytest.Config, *, method: str, callers: int, burst: int
) -> None:
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
            return again.statuses[httpx.codes.OK] == callers

        await eventually(normal, within_seconds=RECOVERY_SECONDS)
        # By what the machine had to give meanwhile, which others may use too.
        peak = (before + await load.peak(callers)) / 2
        late, refused = await refusals(system, method)
    half, most = (percentile(seen.refusal_seconds or [0], percent) for percent in (50, 99))
    repeated = await asyncio.to_thread(second_attempts, system, method)
    say(
        config,
        f"{method}: peak {peak:.0f}/s, goodput {goodput:.0f}/s, {dict(seen.statuses)}, refusals p50 {half:.3f} s, "
        f"p99 {most:.3f} s; by the service {refused:.0f}, {late:.0f} of them late; second attempts {repeated:.3f}",
    )
    assert set(seen.statuses) <= {httpx.codes.OK, httpx.codes.TOO_MANY_REQUESTS}
    assert goodput >= MIN_GOODPUT * peak
    assert seen.refusal_seconds, "this was no overload"
    assert seen.explained == seen.statuses[httpx.codes.TOO_MANY_REQUESTS]
    assert half < MAX_REFUSAL_SECONDS
    assert late <= refused / 100
    assert repeated < MAX_REPEATED


async def refusals(system: LocalSystem, method: str) -> tuple[float, float]:
    """Return how many refusals took the services too long, and how many there were, by their histograms."""
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
        page = (await http.get(f"http://{system.environment['AZORA_METRICS_LISTEN']}/metrics")).text
    lines = [line for line in page.splitlines() if method in line and 'code="RESOURCE_EXHAUSTED"' in line]

    def total(*parts: str) -> float:
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(part in line for part in parts))

    count = total("azora_rpc_duration_seconds_count")
    return count - total("azora_rpc_duration_seconds_bucket", f'le="{MAX_REFUSAL_SECONDS}"'), count


def second_attempts(system: LocalSystem, method: str) -> float:
    """Return the share of the method's calls that Envoy, by its log, has tried more than once."""
    lines = (system.home / "logs" / "envoy.log").read_text().splitlines()
    attempts: list[int] = [json.loads(line).get("attempts", 0) for line in lines if f"/{method}" in line]
    return sum(count > 1 for count in attempts) / len(attempts)


async def test_overload_by_sign_ins(single: LocalSystem, pytestconfig: pytest.Config) -> None:
    login = encoded("/v1/auth/login", b'{"email": "student@azora.world", "password": "Student@2024!"}')
    async with LeanClient.connected(single.port, connections=CONNECTIONS) as client:
        await overloaded(single, Load(client, [login]), pytestconfig, method="Login", callers=4, burst=128)
