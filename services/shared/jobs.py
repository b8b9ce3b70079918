"""Background jobs: enqueued in the transaction of the change that asks for them, or run on a schedule.

A job's payload is a frozen dataclass, and its class name in snake case is the job's name. Attempts are logged. A fault
of the moment is retried with backoff, a defect a few times, a verdict never; what is given up stays as `failed`, for
`azora events` to list and to retry.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder
from pgqueuer.db import AsyncpgDriver
from pgqueuer.errors import FailingListenerError, RetryRequested
from pgqueuer.queries import Queries
from prometheus_client import Histogram
from pydantic import TypeAdapter, ValidationError

from services.shared.backoff import backoff_seconds
from services.shared.connections import Transaction
from services.shared.principal import count_job
from services.shared.verdicts import TRANSIENT, is_verdict, reason_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from pgqueuer.models import Job as QueuedJob
    from pgqueuer.models import Schedule, TracebackRecord
    from prometheus_client import CollectorRegistry
    from sqlalchemy.ext.asyncio import AsyncConnection

Payload = TypeVar("Payload")

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 10_000
"""Attempts at a job that meets faults of the moment: at a minute apart about a week."""
MAX_DEFECT_ATTEMPTS = 5
"""Attempts at a job that raises an error nobody foresaw: about ten seconds."""
MAX_REQUEUES = 5
RECONNECT_SECONDS = 1.0
ANSWER_SECONDS = 30.0
"""Maximum time to wait for the answer to a statement of the queue: where the database's host is gone, TCP waits for a
quarter of an hour. One that is frozen for a while keeps its connection, and with it what the jobs in flight report."""
POLL_SECONDS = 1.0
STOP_SECONDS = 2.0
"""Time that jobs have to end when the process is to stop. Whatever runs on is cancelled, and run by another process as
soon as it is stale."""
STALE_SECONDS = 15.0
"""A job of a process that has not been heard of for so long is run by another."""
BATCH = 32
CONCURRENCY = 128
"""Jobs that a process runs at once."""
KIND_CONCURRENCY = 32
"""Jobs of one kind that all processes run at once: while a mail server or another service hangs, those that wait for it
leave room for the others. A process that is killed keeps what it had of them until its jobs are stale."""
BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

CONNECTION_LOST = (
    OSError,
    TimeoutError,
    FailingListenerError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
)
"""Errors of a worker that has to reconnect; any other is a defect."""

ENQUEUE = QueryQueueBuilder().build_enqueue_query("skip")


@dataclass(frozen=True, slots=True)
class Job(Generic[Payload]):
    """A kind of job: the class of its payloads, and what it does with one."""

    payload: type[Payload]
    run: Callable[[Payload], Awaitable[None]]
    max_attempts: int = MAX_ATTEMPTS

    @property
    def name(self) -> str:
        """The name under which it is queued."""
        return job_name(self.payload)


@dataclass(frozen=True, slots=True)
class Periodic:
    """A job that runs on a schedule, in one of the replicas. It is not retried before its next time."""

    name: str
    schedule: str
    """Cron expression in UTC; a sixth field is seconds."""
    run: Callable[[], Awaitable[None]]


class JobFailed(Exception):
    """A job was given up; its message is the reason."""


def create_tables() -> str:
    """Return the SQL of the queue's tables, for the first migration of a service that has jobs."""
    return QueryBuilderEnvironment().build_install_query(create_schema=False)


def job_name(payload: type) -> str:
    """Return a payload's class name in snake case: "grant_reward" for GrantReward."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", payload.__name__).lower()


async def enqueue(
    connection: AsyncConnection, payload: Any, *, delay: timedelta = timedelta(0), once: str | None = None
) -> None:
    """Enqueue a job in the connection's open transaction: it runs after the commit, or not at all.

    `once` names the job: while one of that name is queued, another changes nothing. Transactions that enqueue the same
    name wait for one another.
    """
    transaction: object = connection
    if not isinstance(transaction, Transaction) or not transaction.open:
        raise RuntimeError("a job is enqueued inside the transaction of its change")
    await transaction.exec_driver_sql(ENQUEUE, enqueue_values(payload, delay=delay, once=once))


def enqueue_values(payload: Any, *, delay: timedelta, once: str | None) -> tuple[list[Any], ...]:
    """Return the parameters of ENQUEUE, for a transaction on the driver's own connection."""
    encoded = _adapter(type(payload)).dump_json(payload)
    return [0], [job_name(type(payload))], [encoded], [delay], [once], ["{}"]


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


class JobRuns:
    """Times runs of jobs by name and outcome; how many there were is the histogram's count.

    A run that fails is `retried`, or `failed` for good; a periodic job that fails is not retried. A run that is
    cancelled is not counted: another process repeats it.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._seconds = Histogram(
            "azora_job_duration_seconds",
            "Duration of background job runs, by outcome: done, retried or failed.",
            ("job", "outcome"),
            registry=registry,
            buckets=BUCKETS_SECONDS,
        )

    @contextmanager
    def run(self, name: str) -> Iterator[None]:
        """Time the run of a job, and count it when it has ended."""
        started, outcome = time.perf_counter(), "done"
        try:
            yield
        except asyncio.CancelledError:
            outcome = ""
            raise
        except Exception as error:
            outcome = "retried" if isinstance(error, RetryRequested) else "failed"
            raise
        finally:
            if outcome:
                self._seconds.labels(name, outcome).observe(time.perf_counter() - started)


class Worker:
    """Runs a service's jobs in this process; every replica has one, and each job runs in one of them."""

    def __init__(
        self,
        url: str,
        jobs: Sequence[Job[Any]],
        periodic: Sequence[Periodic] = (),
        *,
        stale_seconds: float = STALE_SECONDS,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._dsn = url.replace("postgresql+asyncpg://", "postgresql://")
        self._jobs = tuple(jobs)
        self._periodic = tuple(periodic)
        self._stale = timedelta(seconds=stale_seconds)
        self._runs = JobRuns(registry)
        # The package logs a job that was given up once more, as its own failure.
        logging.getLogger("pgqueuer").addFilter(_is_news)

    async def run(self) -> None:
        """Work until cancelled, reconnecting when the database comes back. Raises whatever else ends the work."""
        while True:
            try:
                await self._work()
            except CONNECTION_LOST as error:
                logger.warning(
                    "job worker lost its database connection; reconnecting", extra={"error": type(error).__name__}
                )
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _work(self) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=5, command_timeout=ANSWER_SECONDS)
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            queue = self._queue(_Driver(connection))
            work = asyncio.create_task(
                queue.run(
                    dequeue_timeout=timedelta(seconds=POLL_SECONDS),
                    batch_size=BATCH,
                    max_concurrent_tasks=CONCURRENCY,
                    heartbeat_timeout=self._stale,
                    shutdown_on_listener_failure=True,
                )
            )
            ended = asyncio.create_task(lost.wait())
            try:
                await asyncio.wait((work, ended), return_when=asyncio.FIRST_COMPLETED)
            finally:
                queue.shutdown.set()
                ended.cancel()
                if not lost.is_set():
                    await asyncio.wait((work,), timeout=STOP_SECONDS)
                if not work.done():
                    connection.terminate()  # Or the package would delete the jobs that it cancels.
                    work.cancel()
                (outcome,) = await asyncio.gather(work, return_exceptions=True)
            if isinstance(outcome, Exception) and not lost.is_set():
                raise outcome
            raise ConnectionError("the connection was lost")
        finally:
            await asyncio.shield(connection.close(timeout=1)) if not connection.is_closed() else None

    def _queue(self, driver: AsyncpgDriver) -> PgQueuer:
        queue = PgQueuer(driver, queries=_JobQueries(driver))
        for job in self._jobs:
            register = queue.entrypoint(
                job.name, concurrency_limit=KIND_CONCURRENCY, accepts_context=False, on_failure="hold"
            )
            register(_entrypoint(job, self._runs))
        for periodic in self._periodic:
            queue.schedule(periodic.name, periodic.schedule, accepts_context=False)(_tick(periodic, self._runs))
        return queue


class _Driver(AsyncpgDriver):
    """Closes a connection on which a statement was not answered in time: all others wait behind it."""

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        with self._in_time():
            return await super().fetch(query, *args)

    async def execute(self, query: str, *args: object) -> str:
        with self._in_time():
            return await super().execute(query, *args)

    async def notify(self, channel: str, payload: str) -> None:
        with self._in_time():
            await super().notify(channel, payload)

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            self._connection.terminate()
            raise


class _JobQueries(Queries):
    """The package's queries without its look at every table and column, which takes a start longer than all the rest.

    Migrations have made them. The package gives a job up if requeueing it fails; this tries again, and then leaves it
    to be found stale.
    """

    async def has_table(self, table: str) -> bool:  # noqa: ARG002 - the package's
        return True

    async def table_has_column(self, table: str, column: str) -> bool:  # noqa: ARG002 - the package's
        return True

    async def table_has_index(self, table: str, index: str) -> bool:  # noqa: ARG002 - the package's
        return True

    async def has_user_defined_enum(self, key: str, enum: str) -> bool:  # noqa: ARG002 - the package's
        return True

    async def retry_job(self, job: QueuedJob, delay: timedelta, traceback_record: TracebackRecord | None) -> None:
        for failures in range(1, MAX_REQUEUES + 1):
            try:
                await super().retry_job(job, delay, traceback_record)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                logger.warning(
                    "job could not be requeued",
                    extra={"job": job.entrypoint, "id": job.id, "attempt": failures, "error": str(error)[:200]},
                )
                await asyncio.sleep(backoff_seconds(failures))
            else:
                return


def _entrypoint(job: Job[Any], runs: JobRuns) -> Callable[[QueuedJob], Awaitable[None]]:
    async def run(queued: QueuedJob) -> None:
        count_job(job.name)  # Each runs in a task of its own.
        with runs.run(job.name):
            await attempt(queued)

    async def attempt(queued: QueuedJob) -> None:
        try:
            payload = _adapter(job.payload).validate_json(queued.payload or b"{}")
        except ValidationError as error:
            logger.exception("job failed: its payload is invalid", extra={"job": job.name, "id": queued.id})
            raise JobFailed("PAYLOAD_INVALID") from error
        try:
            await job.run(payload)
        except Exception as error:
            raise _outcome(job, queued, error) from error

    return run


def _outcome(job: Job[Any], queued: QueuedJob, error: Exception) -> Exception:
    """Log a failed attempt and return what the queue makes of it: another attempt, or the end."""
    attempt, reason = queued.attempts + 1, reason_of(error)
    details = {"job": job.name, "id": queued.id, "attempt": attempt, "reason": reason}
    defect = not (isinstance(error, TRANSIENT) or is_verdict(error))
    max_attempts = min(job.max_attempts, MAX_DEFECT_ATTEMPTS) if defect else job.max_attempts
    traceback = error if defect else None
    if is_verdict(error) or attempt >= max_attempts:
        logger.error("job failed; it is not retried", extra=details, exc_info=traceback)
        return JobFailed(reason)
    seconds = backoff_seconds(attempt)
    logger.log(
        logging.ERROR if defect else logging.WARNING,
        "job attempt failed; retrying",
        extra=details | {"retry_seconds": round(seconds, 1), "error": str(error)[:200]},
        exc_info=traceback,
    )
    return RetryRequested(delay=timedelta(seconds=seconds), reason=reason)


def _tick(periodic: Periodic, runs: JobRuns) -> Callable[[Schedule], Awaitable[None]]:
    async def run(_: Schedule) -> None:
        try:
            with runs.run(periodic.name):
                await periodic.run()
        except Exception as error:
            transient = isinstance(error, TRANSIENT)
            logger.log(
                logging.WARNING if transient else logging.ERROR,
                "periodic job failed",
                extra={"job": periodic.name, "reason": reason_of(error), "error": str(error)[:200]},
                exc_info=None if transient else error,
            )

    return run


def _is_news(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], JobFailed))
