"""How long a job that fails waits before it is tried again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from pgqueuer.errors import RetryRequested

from services.shared import jobs

if TYPE_CHECKING:
    from services.shared.jobs import Payload


async def fail(_: Payload) -> None:
    raise ConnectionError


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 0.5), (1, 1), (6, 32), (7, 60), (48, 60), (5000, 60)])
async def test_waits_grow_to_a_minute_and_no_outage_is_too_long(attempts: int, seconds: float) -> None:
    job = SimpleNamespace(payload=b"{}", attempts=attempts)
    with pytest.raises(RetryRequested) as retry:
        await jobs._entrypoint(fail)(job)  # type: ignore[arg-type]
    assert retry.value.delay.total_seconds() == seconds


async def test_after_a_week_a_person_looks_at_it() -> None:
    job = SimpleNamespace(payload=b"{}", attempts=jobs.RETRY_ATTEMPTS)
    with pytest.raises(ConnectionError):
        await jobs._entrypoint(fail)(job)  # type: ignore[arg-type]
