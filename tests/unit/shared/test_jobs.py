"""What becomes of a job whose attempt failed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from pgqueuer.errors import RetryRequested
from prometheus_client import CollectorRegistry

from services.shared import jobs
from services.shared.backoff import backoff_seconds
from services.shared.errors import AlreadyExists, DependencyUnavailable, Refused
from services.shared.jobs import Job, JobFailed, JobRuns, job_name


@dataclass(frozen=True, slots=True)
class Work:
    number: int


class ReferenceTaken(AlreadyExists):
    """The reference is taken."""


async def attempt(error: Exception, attempts: int, **changes: Any) -> Exception:
    """Return what the queue is told about an attempt that fails with `error`, after `attempts` failed ones."""

    async def fail(_: Work) -> None:
        raise error

    queued = SimpleNamespace(payload=b'{"number": 1}', attempts=attempts, id=7)
    with pytest.raises((RetryRequested, JobFailed)) as told:
        await jobs._entrypoint(Job(Work, fail, **changes), JobRuns())(queued)  # type: ignore[arg-type]
    return told.value


@pytest.mark.parametrize(("failures", "seconds"), [(1, 0.5), (2, 1), (7, 32), (8, 60), (49, 60), (5000, 60)])
def test_waits_grow_to_a_minute_with_jitter(failures: int, seconds: float) -> None:
    waits = [backoff_seconds(failures) for _ in range(100)]
    assert seconds / 2 <= min(waits) < max(waits) <= seconds


@pytest.mark.parametrize("error", [DependencyUnavailable(), ConnectionError(), TimeoutError()])
async def test_a_fault_of_the_moment_is_retried_for_about_a_week(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    retry = await attempt(error, 5000)
    assert isinstance(retry, RetryRequested)
    (record,) = caplog.records
    assert (record.levelname, record.__dict__["attempt"], record.exc_info) == ("WARNING", 5001, None)
    assert record.__dict__["reason"] in ("DEPENDENCY_UNAVAILABLE", type(error).__name__)
    assert isinstance(await attempt(error, jobs.MAX_ATTEMPTS - 1), JobFailed)
    assert isinstance(await attempt(error, 2, max_attempts=3), JobFailed)


@pytest.mark.parametrize("error", [ReferenceTaken(), Refused("REFERENCE_TAKEN")])
async def test_a_verdict_is_not_retried(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """A reward whose reference earned something else before was tried 10,000 times."""
    failed = await attempt(error, 0)
    assert isinstance(failed, JobFailed)
    assert str(failed) == "REFERENCE_TAKEN"
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_defect_ends_a_job_soon_and_loudly(caplog: pytest.LogCaptureFixture) -> None:
    """A KeyError was retried for a week, and each retry logged nothing."""
    outcomes = [await attempt(KeyError("amount"), attempts) for attempts in range(jobs.MAX_DEFECT_ATTEMPTS)]
    assert [type(outcome) for outcome in outcomes] == [RetryRequested] * 4 + [JobFailed]
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 5
    assert all(record.exc_info and isinstance(record.exc_info[1], KeyError) for record in caplog.records)


@pytest.mark.parametrize("payload", [b"{}", b"not JSON", b'{"number": "many"}', None])
async def test_a_payload_of_another_shape_is_not_retried(payload: bytes | None) -> None:
    async def never(_: Work) -> None:
        raise AssertionError

    with pytest.raises(JobFailed, match="PAYLOAD_INVALID"):
        await jobs._entrypoint(Job(Work, never), JobRuns())(SimpleNamespace(payload=payload, attempts=0, id=7))  # type: ignore[arg-type]


async def test_a_periodic_job_that_fails_is_logged_and_runs_again(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Exception] = [KeyError("a defect"), DependencyUnavailable()]
    registry = CollectorRegistry()

    async def fail() -> None:
        raise errors.pop(0)

    run = jobs._tick(jobs.Periodic("expire", "* * * * *", fail), JobRuns(registry))
    for _ in range(2):
        await run(None)  # type: ignore[arg-type]
    assert [(record.levelname, bool(record.exc_info)) for record in caplog.records] == [
        ("ERROR", True),
        ("WARNING", False),
    ]
    assert _runs(registry, "expire", "failed") == 2


async def test_a_run_that_is_cancelled_is_not_counted() -> None:
    registry = CollectorRegistry()

    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await jobs._tick(jobs.Periodic("expire", "* * * * *", cancelled), JobRuns(registry))(None)  # type: ignore[arg-type]
    assert [_runs(registry, "expire", outcome) for outcome in ("done", "retried", "failed")] == [0, 0, 0]


def test_jobs_are_named_by_their_payload() -> None:
    assert job_name(Work) == "work"
    assert job_name(ReferenceTaken) == "reference_taken"


def test_the_queue_does_not_repeat_what_was_logged() -> None:
    def record(error: Exception) -> logging.LogRecord:
        info = (type(error), error, None)
        return logging.LogRecord("pgqueuer", logging.ERROR, "", 0, "Exception while processing", None, info)

    assert not jobs._is_news(record(JobFailed("X")))
    assert jobs._is_news(record(OSError()))


def _runs(registry: CollectorRegistry, job: str, outcome: str) -> float:
    labels = {"job": job, "outcome": outcome}
    return registry.get_sample_value("azora_job_duration_seconds_count", labels) or 0
