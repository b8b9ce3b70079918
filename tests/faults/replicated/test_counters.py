"""Steady load through Envoy while the server of the rate limits' counters is frozen or killed: no call needs it.

Every call succeeds within a second. Sign-ins are counted in the processes, everything else is let through.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import httpx
import pytest

from services.shared.ids import new_id
from tests.support.http import plain_http
from tests.support.hurt import go_on, say
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.redis import Redis
    from tests.support.steady import SteadyLoad
    from tests.support.system import LocalSystem

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]
AWAY_SECONDS = 4.0
ANSWER_SECONDS = 1.0
BACK_SECONDS = 10.0
GUESSES_AT_ONCE = 4
MAX_GUESSES = 400
"""More than all replicas together let through on one account in a minute."""
SAID = "shared rate-limit counters do not answer"


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
async def test_counters_away(
    *,
    replicated: LocalSystem,
    counters: Redis,
    load: SteadyLoad,
    rate: int,
    number: signal.Signals,
    pytestconfig: pytest.Config,
) -> None:
    async with plain_http(replicated.edge, timeout=5) as http:
        said, unchecked = _said(replicated), await _unchecked(replicated)
        async with load.running(rate) as outcomes:
            await go_on(2)
            counters.send(number)
            await go_on(AWAY_SECONDS)
            guesses = await _guess(http)
            assert _said(replicated) > said
            assert await _unchecked(replicated) > unchecked
            if number is signal.SIGSTOP:
                counters.send(signal.SIGCONT)
            else:
                counters.kill()
                counters.start()
            await eventually(lambda: _counting(replicated), within_seconds=BACK_SECONDS)
            await go_on(1)
    say(pytestconfig, f"counters' server, {number.name}: refused after {guesses} guesses; {outcomes}")
    assert outcomes.failed == []
    assert max(outcome.seconds for outcome in outcomes.all) < ANSWER_SECONDS


async def _guess(http: httpx.AsyncClient) -> int:
    """Guess passwords of one account until that is refused; return how often it was not."""
    body = {"email": f"{new_id()}@azora.world", "password": "a guess of many"}
    for count in range(0, MAX_GUESSES, GUESSES_AT_ONCE):
        answers = await asyncio.gather(*(http.post("/v1/auth/login", json=body) for _ in range(GUESSES_AT_ONCE)))
        wrong = sum(answer.status_code == httpx.codes.UNAUTHORIZED for answer in answers)
        if wrong < len(answers):
            reasons = {answer.json()["details"][0]["reason"] for answer in answers}
            assert reasons <= {"CREDENTIALS_INVALID", "TOO_MANY_FAILED_ATTEMPTS", "RATE_LIMITED"}, reasons
            return count + wrong
    raise AssertionError("guessing was never refused")


async def _counting(system: LocalSystem) -> bool:
    """Whether for a second nothing was let through uncounted."""
    before = await _unchecked(system)
    await go_on(1)
    return await _unchecked(system) == before


async def _unchecked(system: LocalSystem) -> float:
    """Return how many calls were let through uncounted, by the metrics of all processes."""
    async with plain_http(timeout=5) as http:
        page = (await http.get(f"http://{system.environment['AZORA_METRICS_LISTEN']}/metrics")).text
    return sum(
        float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if line.startswith("azora_rate_limit_decisions_total") and 'decision="unchecked"' in line
    )


def _said(system: LocalSystem) -> int:
    return sum(log.read_text().count(SAID) for log in (system.home / "logs").glob("*.log"))
