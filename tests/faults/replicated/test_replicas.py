"""Steady load through Envoy on two replicas of each service: no fault of one replica of each costs a call."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.http import plain_http
from tests.support.hurt import freeze, go_on, outlast_certificates, renewals, say
from tests.support.services import SERVICES
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.steady import SteadyLoad
    from tests.support.system import LocalSystem

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]
FROZEN_SECONDS = 8.0
BACK_SECONDS = 3.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_replica_of_each_service_ends_and_no_call_fails(
    replicated: LocalSystem, load: SteadyLoad, rate: int, number: signal.Signals, pytestconfig: pytest.Config
) -> None:
    async with load.running(rate) as outcomes:
        await go_on(2)
        await asyncio.gather(*(replicated.end_process(f"{service}-1", number) for service in SERVICES))
        await go_on(2)
    say(pytestconfig, f"{number.name}: {outcomes}")
    assert outcomes.failed == []


async def test_a_frozen_replica_of_each_service_costs_no_call(
    replicated: LocalSystem, load: SteadyLoad, rate: int, pytestconfig: pytest.Config
) -> None:
    async with load.running(rate) as outcomes:
        await go_on(2)
        await asyncio.gather(*(freeze(replicated, service, FROZEN_SECONDS) for service in SERVICES))
        await go_on(4)
    say(pytestconfig, f"SIGSTOP: {outcomes}")
    assert outcomes.failed == []


async def test_renewed_certificates_cost_no_call(
    replicated: LocalSystem, load: SteadyLoad, rate: int, pytestconfig: pytest.Config
) -> None:
    async with load.running(rate) as outcomes:
        await renewals(replicated, 2)
        await outlast_certificates(outcomes)
    say(pytestconfig, f"two renewals: {outcomes}")
    assert outcomes.failed == []


async def test_a_killed_envoy_is_back_within_three_seconds_and_retries_succeed(
    replicated: LocalSystem, load: SteadyLoad, rate: int, pytestconfig: pytest.Config
) -> None:
    async with plain_http(replicated.edge, timeout=1) as http:
        patient = load.with_retries(replicated)
        async with patient.running(rate) as outcomes:
            await go_on(2)
            killed = time.monotonic()
            replicated.processes()["envoy"].send(signal.SIGKILL)
            await _answers(http)
            back_seconds = time.monotonic() - killed
            await go_on(3)
        await patient.close()
    say(pytestconfig, f"Envoy killed: back after {back_seconds:.1f} s; {outcomes}")
    assert outcomes.failed == []
    assert back_seconds < BACK_SECONDS


async def _answers(http: httpx.AsyncClient) -> None:
    """Wait until a call through the edge succeeds."""

    async def courses() -> bool:
        try:
            return (await http.get("/v1/courses")).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    await eventually(courses)
