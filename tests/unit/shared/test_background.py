"""Background tasks: what ends is logged and restarted, and what keeps crashing is no secret."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from services.shared import background
from services.shared.background import Background
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def tasks(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Background]:
    """Give a runner that restarts at once."""
    monkeypatch.setattr(background, "backoff_seconds", lambda *_, **__: 0.001)
    running = Background()
    yield running
    await running.stop()


async def test_a_crash_is_logged_and_the_task_restarted(tasks: Background, caplog: pytest.LogCaptureFixture) -> None:
    """A KeyError in a worker ended it until the next start of the process, and nothing said so."""
    errors: list[BaseException] = [KeyError("lost"), asyncio.CancelledError("from within")]
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if errors:
            raise errors.pop(0)
        await asyncio.Event().wait()

    tasks.start("worker", work)
    await eventually(lambda: _value(runs == 3))
    assert [(record.levelname, record.__dict__["task"]) for record in caplog.records] == [("ERROR", "worker")] * 2
    assert all(record.exc_info for record in caplog.records)
    assert tasks.healthy


async def test_a_task_that_returns_is_restarted(tasks: Background, caplog: pytest.LogCaptureFixture) -> None:
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs > 1:
            await asyncio.Event().wait()

    tasks.start("worker", work)
    await eventually(lambda: _value(runs == 2))
    assert [record.message for record in caplog.records] == ["background task returned; restarting"]


async def test_a_task_that_keeps_crashing_is_unhealthy_until_it_ran_for_a_minute(
    tasks: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = 0

    async def work() -> None:
        if reports < background.MAX_CRASHES:
            raise RuntimeError
        await asyncio.Event().wait()

    async def report() -> None:
        nonlocal reports
        reports += 1
        raise RuntimeError("a report that fails does not end the task either")

    tasks.start("worker", work, crashed=report)
    await eventually(lambda: _value(not tasks.healthy))
    assert reports >= background.MAX_CRASHES - 1
    monkeypatch.setattr(background, "STABLE_SECONDS", 0.0)
    assert tasks.healthy


async def test_stopping_ends_all_tasks(tasks: Background) -> None:
    begun, ended = [], []

    def waiting(name: str) -> None:
        async def work() -> None:
            begun.append(name)
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)

        tasks.start(name, work)

    for name in ("one", "two"):
        waiting(name)
    await eventually(lambda: _value(len(begun) == 2))
    await tasks.stop()
    assert ended == ["one", "two"]


async def _value(value: object) -> object:
    return value
