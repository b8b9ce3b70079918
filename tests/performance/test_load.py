"""The load and memory tests of the system that this one replaces, through the real edge. Times are ratios."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from tests.support.system import LocalSystem

LOGIN = {"email": "student@azora.world", "password": "Student@2024!"}


async def timed(call: Callable[[], Awaitable[httpx.Response]]) -> float:
    """Return how many seconds a call takes that must succeed."""
    started = time.perf_counter()
    response = await call()
    assert response.status_code == 200, response.text
    return time.perf_counter() - started


@pytest.mark.alone
async def test_fifty_people_sign_in_at_once(http: httpx.AsyncClient) -> None:
    """Nobody is turned away, and the catalogue still answers while passwords are checked: no read waits for all."""
    await timed(lambda: http.get("/v1/courses"))
    logins = [asyncio.create_task(timed(lambda: http.post("/v1/auth/login", json=LOGIN))) for _ in range(50)]
    meanwhile = statistics.median([await timed(lambda: http.get("/v1/courses")) for _ in range(10)])
    assert meanwhile < max(await asyncio.gather(*logins)) / 2


@pytest.mark.alone
async def test_a_hundred_people_browse_at_once(http: httpx.AsyncClient) -> None:
    """A hundred at once cost no more each than they would one after another: by turns, as the machine is not ours."""
    one_by_one, at_once = [], []
    for _ in range(5):
        one_by_one += [await timed(lambda: http.get("/v1/courses")) for _ in range(10)]
        started = time.perf_counter()
        await asyncio.gather(*(timed(lambda: http.get("/v1/courses")) for _ in range(100)))
        at_once.append((time.perf_counter() - started) / 100)
    assert statistics.median(at_once) < statistics.median(one_by_one) * 1.5


@pytest.mark.alone
async def test_twenty_reads_in_a_row_do_not_get_slower(http: httpx.AsyncClient) -> None:
    await timed(lambda: http.get("/v1/courses"))
    times = [await timed(lambda: http.get("/v1/courses")) for _ in range(20)]
    assert statistics.median(times[10:]) < 2 * statistics.median(times[:10])


async def test_memory_stays_flat_over_a_thousand_reads(http: httpx.AsyncClient, system: LocalSystem) -> None:
    async def read(count: int) -> None:
        for _ in range(count // 50):
            await asyncio.gather(*(timed(lambda: http.get("/v1/courses")) for _ in range(50)))

    await read(300)  # Pools and caches fill first.
    process = psutil.Process(system.processes()["education"].pid)
    before = process.memory_info().rss
    await read(1000)
    grown_mebibytes = (process.memory_info().rss - before) / 2**20
    assert grown_mebibytes < 8, f"{grown_mebibytes:.1f} MiB for 1,000 reads"
