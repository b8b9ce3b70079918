"""Jobs: in the transaction of their change or not at all, retried until done, back when the database is back."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from services.shared import jobs as jobs_module
from services.shared.db import Database
from services.shared.dead_letters import backlog, list_dead_letters, retry_dead_letters
from services.shared.errors import DependencyUnavailable, FailedPrecondition, Refused
from services.shared.jobs import KIND_CONCURRENCY, Job, Periodic, Worker, enqueue
from tests.support.database_proxy import database_proxy
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.postgres import Clone


class Changed(FailedPrecondition):
    """Something else changed."""


@dataclass(frozen=True, slots=True)
class Work:
    number: int


@dataclass(frozen=True, slots=True)
class Hanging:
    number: int


@dataclass(slots=True)
class Handler:
    """Takes jobs; fails as it is told to."""

    taken: list[int] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    async def __call__(self, job: Work) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.taken.append(job.number)

    async def took(self, *numbers: int, within_seconds: float = 20) -> None:
        async def all_taken() -> bool:
            return sorted(self.taken) == list(numbers)

        await eventually(all_taken, within_seconds=within_seconds)


@pytest.fixture
async def database(payment_database: Clone) -> AsyncIterator[Database]:
    opened = Database(payment_database.app_url)
    yield opened
    await opened.close()


@asynccontextmanager
async def working(
    url: str, work: Callable[[Work], Awaitable[None]], *others: Job[Any], **options: Any
) -> AsyncIterator[asyncio.Task[None]]:
    """Run `Work`, and other jobs, until the end of the block."""
    task = asyncio.create_task(Worker(url, [Job(Work, work), *others], **options).run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def ask(database: Database, number: int, *, fail: bool = False, once: str | None = None) -> None:
    async def work(connection: AsyncConnection) -> None:
        await enqueue(connection, Work(number), once=once)
        if fail:
            raise Changed

    await database.transaction(work)


async def as_owner(clone: Clone, script: str) -> None:
    async with clone.server.connection(clone.name) as connection:
        await connection.execute(script)


def raising(sqlstate: str, *, of: str, times: int) -> str:
    """Return SQL that makes the next statements on the queue fail: `of` says which, `times` how many."""
    return f"""
        CREATE SEQUENCE failures; GRANT ALL ON SEQUENCE failures TO PUBLIC;
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('failures') <= {times} THEN RAISE EXCEPTION 'no' USING ERRCODE = '{sqlstate}'; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER fail BEFORE {of} EXECUTE FUNCTION fail();
    """


async def test_a_job_runs_after_the_commit_and_never_after_a_rollback(
    database: Database, payment_database: Clone
) -> None:
    handler = Handler()
    async with working(payment_database.app_url, handler):
        with pytest.raises(Changed):
            await ask(database, 1, fail=True)
        await ask(database, 2)
        await handler.took(2)


async def test_a_job_that_fails_is_tried_again_until_it_is_done(database: Database, payment_database: Clone) -> None:
    handler = Handler(errors=[ConnectionError("not yet"), DependencyUnavailable()])
    async with working(payment_database.app_url, handler):
        await ask(database, 1)
        await handler.took(1)


async def test_runs_are_timed_by_job_and_outcome(database: Database, payment_database: Clone) -> None:
    """Also those of a periodic job."""
    registry, handler = CollectorRegistry(), Handler(errors=[ConnectionError("not yet"), Refused("NO")])

    async def tick() -> None:
        pass

    def runs(job: str, outcome: str) -> float | None:
        labels = {"job": job, "outcome": outcome}
        return registry.get_sample_value("azora_job_duration_seconds_count", labels)

    async def all_counted() -> bool:
        counts = [runs("work", outcome) for outcome in ("retried", "failed", "done")]
        return counts == [1, 1, 2] and bool(runs("tick", "done"))

    periodic = [Periodic("tick", "* * * * * *", tick)]
    async with working(payment_database.app_url, handler, periodic=periodic, registry=registry):
        for number in (1, 2, 3):
            await ask(database, number)
        await eventually(all_counted)
    assert runs("tick", "failed") is None


async def test_a_named_job_is_queued_once(database: Database, payment_database: Clone) -> None:
    await ask(database, 1, once="settle:1")
    await ask(database, 2, once="settle:1")
    await ask(database, 3)
    handler = Handler()
    async with working(payment_database.app_url, handler):
        await handler.took(1, 3)


async def test_many_jobs_are_drained_within_seconds(database: Database, payment_database: Clone) -> None:
    numbers = range(500)

    async def work(connection: AsyncConnection) -> None:
        for number in numbers:
            await enqueue(connection, Work(number))

    await database.transaction(work)
    handler = Handler()
    async with working(payment_database.app_url, handler):
        await handler.took(*numbers, within_seconds=5)


async def test_jobs_that_hang_leave_room_for_those_of_other_kinds(database: Database, payment_database: Clone) -> None:
    """They took every place of the process: what was queued after 300 of them waited for a minute."""
    handler, running, let_go = Handler(), 0, asyncio.Event()

    async def hang(_: Hanging) -> None:
        nonlocal running
        running += 1
        await let_go.wait()

    async def work(connection: AsyncConnection) -> None:
        for number in range(300):
            await enqueue(connection, Hanging(number))

    async def as_many_as_may() -> bool:
        return running == KIND_CONCURRENCY

    await database.transaction(work)
    async with working(payment_database.app_url, handler, Job(Hanging, hang)):
        await eventually(as_many_as_may)
        await ask(database, 1)
        await handler.took(1, within_seconds=5)
        assert running == KIND_CONCURRENCY
        let_go.set()


async def test_jobs_that_wait_for_a_lock_leave_connections_to_calls(
    database: Database, payment_database: Clone
) -> None:
    """Jobs have no deadline: forty that waited for one locked row kept every connection from all calls for 39 s."""
    waiting = 0

    async def change(_: Work) -> None:
        nonlocal waiting
        waiting += 1
        await database.transaction(lambda connection: connection.execute(text("UPDATE hot SET number = 1")))

    async def all_wait() -> bool:
        return waiting >= 20

    await as_owner(
        payment_database, "CREATE TABLE hot (number int); GRANT ALL ON hot TO PUBLIC; INSERT INTO hot VALUES (0)"
    )
    async with (
        payment_database.server.connection(payment_database.name) as owner,
        working(payment_database.app_url, change),
        owner.transaction(),
    ):
        await owner.execute("UPDATE hot SET number = 2")
        for number in range(20):
            await ask(database, number)
        await eventually(all_wait)
        async with asyncio.timeout(2), database.reading() as connection:
            await connection.execute(text("SELECT 1"))


async def test_the_worker_comes_back_after_its_connection_was_cut(database: Database, payment_database: Clone) -> None:
    handler = Handler()
    async with working(payment_database.app_url, handler):
        await ask(database, 1)
        await handler.took(1)
        async with payment_database.server.connection("postgres") as connection:
            cut = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
            )
            await connection.execute(cut, payment_database.name)
        await database.close()
        await ask(database, 2)
        await handler.took(1, 2)


async def test_the_worker_comes_back_from_a_database_that_is_gone_without_a_word(
    database: Database, payment_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no packet comes back TCP gives up after a quarter of an hour, and until then no job ran."""
    monkeypatch.setattr(jobs_module, "ANSWER_SECONDS", 1.0)
    handler = Handler()
    async with database_proxy(payment_database.app_url) as (url, proxy), working(url, handler):
        await ask(database, 1)
        await handler.took(1)
        proxy.silence()
        await ask(database, 2)
        await handler.took(1, 2)


async def test_a_job_that_goes_on_holds_up_no_stop_and_is_run_again(
    database: Database, payment_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mail server that hung kept its process from ending until it was killed."""
    monkeypatch.setattr(jobs_module, "STOP_SECONDS", 0.3)
    started, handler = asyncio.Event(), Handler()

    async def hang(_: Work) -> None:
        started.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(20), working(payment_database.app_url, hang):
        await ask(database, 1)
        await started.wait()
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 5
    async with working(payment_database.app_url, handler, stale_seconds=1):
        await handler.took(1)


async def test_a_defect_of_the_worker_is_raised_and_not_hidden(database: Database, payment_database: Clone) -> None:
    """Whatever ended the work was dropped, and the worker began again in silence."""
    await as_owner(payment_database, "ALTER TABLE pgqueuer RENAME TO elsewhere")
    worker = Worker(payment_database.app_url, [Job(Work, Handler())])
    async with asyncio.timeout(10):
        with pytest.raises(asyncpg.UndefinedTableError, match="pgqueuer"):
            await worker.run()


async def test_a_job_outside_a_transaction_is_a_mistake(database: Database) -> None:
    async with database.reading() as connection:
        with pytest.raises(RuntimeError, match="inside the transaction"):
            await enqueue(connection, Work(1))


async def test_a_job_that_cannot_be_requeued_is_not_lost(database: Database, payment_database: Clone) -> None:
    """One SQL error in the requeue made a job `failed` for good, whatever attempts were left."""
    await as_owner(
        payment_database,
        raising("40P01", of="UPDATE ON pgqueuer FOR EACH ROW WHEN (NEW.attempts > OLD.attempts)", times=2),
    )
    handler = Handler(errors=[ConnectionError()])
    async with working(payment_database.app_url, handler):
        await ask(database, 1)
        await handler.took(1)


async def test_a_job_that_was_never_requeued_is_found_stale(
    database: Database, payment_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.shared.jobs.MAX_REQUEUES", 1)
    await as_owner(
        payment_database,
        raising("40P01", of="UPDATE ON pgqueuer FOR EACH ROW WHEN (NEW.attempts > OLD.attempts)", times=1),
    )
    handler = Handler(errors=[ConnectionError()])
    async with working(payment_database.app_url, handler, stale_seconds=1):
        await ask(database, 1)
        await handler.took(1)


async def test_errors_of_the_queue_are_errors_of_the_database(database: Database, payment_database: Clone) -> None:
    """The queue used the driver beneath SQLAlchemy: a full disk escaped the naming, a deadlock the retry."""
    await as_owner(payment_database, raising("40P01", of="INSERT ON pgqueuer FOR EACH ROW", times=1))
    await ask(database, 1)
    await as_owner(payment_database, "DROP TRIGGER fail ON pgqueuer; DROP FUNCTION fail; DROP SEQUENCE failures")
    await as_owner(payment_database, raising("53100", of="INSERT ON pgqueuer FOR EACH ROW", times=1))
    with pytest.raises(DependencyUnavailable):
        await ask(database, 2)
    handler = Handler()
    async with working(payment_database.app_url, handler):
        await handler.took(1)


async def test_a_failed_job_is_listed_and_can_be_retried(database: Database, payment_database: Clone) -> None:
    handler = Handler(errors=[Refused("REFERENCE_USED")])
    async with working(payment_database.app_url, handler):
        await ask(database, 1, once="the only one")

        async def failed() -> int:
            async with database.reading() as connection:
                return (await backlog(connection)).failed_jobs

        assert await eventually(failed) == 1
        async with database.reading() as connection:
            (dead,) = await list_dead_letters(connection)
        assert (dead.kind, dead.name, dead.subscriber, dead.attempts, dead.reason) == (
            "job",
            "work",
            "",
            1,
            "REFERENCE_USED",
        )
        assert await database.transaction(lambda connection: retry_dead_letters(connection, ["0"])) == []
        assert await database.transaction(lambda connection: retry_dead_letters(connection, [dead.id])) == [dead.id]
        await handler.took(1)

        async def drained() -> bool:
            async with database.reading() as connection:
                return (await backlog(connection)).drained

        await eventually(drained)


async def test_a_periodic_job_runs_in_one_replica_at_each_of_its_times(payment_database: Clone) -> None:
    runs: list[str] = []

    def ticking(replica: str) -> Periodic:
        async def run() -> None:
            runs.append(replica)

        return Periodic("tick", "* * * * * *", run)

    one, two = (working(payment_database.app_url, Handler(), periodic=[ticking(replica)]) for replica in ("one", "two"))
    async with one, two:

        async def several() -> bool:
            return len(runs) >= 3

        started = asyncio.get_running_loop().time()
        await eventually(several)
        elapsed = asyncio.get_running_loop().time() - started
    assert len(runs) <= elapsed + 2
