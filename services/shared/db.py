"""Database access: transactions as closures, reads without one, driver errors translated in one place."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakSet

import asyncpg
from sqlalchemy import DateTime, Uuid
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi, dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from services.shared.connection_cache import ConnectionCache
from services.shared.connections import CANCEL_SECONDS, DRIVER_ERRORS, ReadConnection, Transaction
from services.shared.errors import DependencyUnavailable, DomainError, Overloaded, ValidationFailed
from services.shared.gate import Gate
from services.shared.principal import current_request, note_failed_dependency, note_late
from services.shared.statement_spans import trace_statements
from services.shared.statements import Queries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from opentelemetry.trace import Tracer
    from prometheus_client import CollectorRegistry

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

# Serialization failure and deadlock: the loser's transaction did nothing and may simply run again.
TRANSIENT = {"40001", "40P01"}
# Connection failures, shutdown, crash, too many connections, out of disk or memory, a statement that timed out, and a
# transaction that stood still or outlived its call: the database, not the request.
UNAVAILABLE_CLASSES = ("08", "53", "57P0", "57014", "25P03", "25P04")
# The character NUL: protobuf's strings may hold it, PostgreSQL's text and jsonb may not.
NOT_IN_TEXT = {"22021", "22P05"}
ADAPTED_ERROR = AsyncAdapt_asyncpg_dbapi.Error
"""What SQLAlchemy's pool raises for the driver's errors; its engine wraps it in a DBAPIError."""
ATTEMPTS = 5
CONNECT_TIMEOUT_SECONDS = 2.0
STATEMENT_TIMEOUT_SECONDS = 10
READY_SECONDS = 1.0
"""Time that the database has to answer whether it is there."""
STALLED_SECONDS = 0.1
"""Time to read an answer that came in time, for a process that stood still itself meanwhile."""
PROBE_SECONDS = 0.25
"""Pause between two probes."""
REDIAL_SECONDS, MAX_REDIAL_SECONDS = 0.1, 1.0
"""Pause after a refused connection, doubled with each. PostgreSQL forks for each it refuses, while it recovers from a
crash, too: without a pause, the processes that dial take the machine from those that work."""
SILENT = logging.WARNING, "database does not answer; refusing work"
ANSWERS = logging.INFO, "database answers again"
LOCK_TIMEOUT_SECONDS = 2.0
LOCK_SHARE = 0.75
"""How much of a call's time it may wait for one lock, at most: it is then still in time to say so."""
END_SECONDS = 0.5
"""Time that a process has to end a transaction whose call is over, before PostgreSQL does."""
IDLE_SECONDS = 1.5
"""Time between two statements of a transaction: others outlast a process that is stopped with what it has locked."""
COMPUTES = f" SET LOCAL idle_in_transaction_session_timeout = {STATEMENT_TIMEOUT_SECONDS * 1000};"
LOCK_NOT_AVAILABLE = "55P03"
QUERIES = Queries(dialect())  # type: ignore[no-untyped-call] # SQLAlchemy has no types there.
"""The statements that modules build once, each compiled once for all databases of the process."""
BEGIN = "BEGIN;"

Id = Uuid(as_uuid=False)
"""UUIDs, as text in lower case."""
Time = DateTime(timezone=True)
ID_MAX = "ffffffff-ffff-ffff-ffff-ffffffffffff"
"""Not below any id: where a list that runs backwards begins."""


class StatementFailed(Exception):
    """A statement failed for a reason that is no caller's: told by the driver's class and SQLSTATE, never with data."""

    def __init__(self, error: Exception) -> None:
        names = (getattr(error, name, None) for name in ("table_name", "column_name", "constraint_name"))
        where = " of ".join(reversed([name for name in names if name]))
        super().__init__(f"{type(error).__name__}, SQLSTATE {_sqlstate(error) or 'none'}{where and f', {where}'}")


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types.
    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        """Close, as asyncpg does. A connection that is given up has its statement cancelled, if that can be done soon.

        SQLAlchemy would have a call whose deadline has passed wait for it for two seconds more.
        """
        await super().close(timeout=timeout and min(timeout, CANCEL_SECONDS))

    async def run(self, sql: str, arguments: Sequence[Any]) -> tuple[list[asyncpg.Record], str]:
        """Execute a statement; return its rows and its status: "UPDATE 3". asyncpg has methods for one or the other."""
        rows, status, _ = await self._execute(sql, arguments, 0, None, return_status=True)
        return rows, status.decode()


def _begin(max_seconds: float | None, *, computes: bool) -> str:
    """Return the SQL that begins a transaction, bounded by the call's deadline, or without one by `max_seconds`.

    A process that is killed, or stopped and not continued, leaves its statements and locks behind. PostgreSQL ends them
    when the call's deadline has passed. What bounds a transaction travels with its BEGIN, and costs no round trip.
    """
    request = current_request()
    pause = COMPUTES if computes else ""
    if request is None or request.deadline is None:
        return BEGIN + pause + ("" if max_seconds is None else _limit(max_seconds))
    return BEGIN + pause + bounds(request.remaining_seconds(STATEMENT_TIMEOUT_SECONDS))


def bounds(remaining_seconds: float) -> str:
    """Return the statements that have a transaction end in time, and wait for locks for less than that."""
    lock_seconds = min(LOCK_TIMEOUT_SECONDS, max(remaining_seconds * LOCK_SHARE, 0.001))
    return f" SET LOCAL lock_timeout = {int(lock_seconds * 1000)};{_limit(remaining_seconds)}"


def _limit(seconds: float) -> str:
    # All of the transaction, statements and the time between them; on top, for this process to end it by itself first.
    return f" SET LOCAL transaction_timeout = {int((seconds + END_SECONDS) * 1000)}"


class Database:
    """One service's database. Work is a closure that may run again after a deadlock, so it holds nothing but SQL.

    `constraints` names the domain error behind a violated constraint: {"users_email_key": EmailTaken}. With a `tracer`
    statements within a recorded trace are spans. `registry` is given the metrics of the waits for a connection.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        constraints: Mapping[str, type[DomainError]] | None = None,
        tracer: Tracer | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._constraints = dict(constraints or {})
        # SQLAlchemy's pool wakes its waiters in no order; this gate in front of it is first come, first served.
        self._gate = Gate(pool_size, registry)
        engine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            # Of the engine: as an option, each use would leave a finalizer with a connection that is kept.
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            async_creator=self._dial_pooled,
        )
        self._dsn = url.replace("postgresql+asyncpg://", "postgresql://")
        self._dedicated: WeakSet[asyncpg.Connection[asyncpg.Record]] = WeakSet()
        self._pooled: WeakSet[asyncpg.Connection[asyncpg.Record]] = WeakSet()
        self._dial_at = float("-inf")
        self._redial_seconds = REDIAL_SECONDS
        self._dialling: set[asyncio.Timeout] = set()
        self._probing = asyncio.Lock()
        self._probe: asyncpg.Connection[asyncpg.Record] | None = None
        self._watch = trace_statements(engine, tracer) if tracer is not None else None
        self._cache = ConnectionCache(engine)

    @property
    def connections_in_use(self) -> int:
        """Connections that work has taken from the pool."""
        return self._cache.in_use

    @property
    def work_waiting(self) -> int:
        """Transactions and reads that wait for a connection."""
        return self._gate.waiting

    async def transaction(
        self,
        work: Callable[[AsyncConnection], Awaitable[Result]],
        *,
        max_seconds: float | None = None,
        computes: bool = False,
    ) -> Result:
        """Run `work` in one transaction and commit it; a DomainError rolls it back.

        PostgreSQL ends it when the deadline of its call has passed. Commands and jobs have no deadline: each of their
        statements is bounded, and the whole, which may be long, only by `max_seconds`. Between two statements it has
        IDLE_SECONDS, or where it `computes`, which it does without locks, as long as a statement has.

        Runs again, at most five times, when PostgreSQL chose it as the victim of a deadlock, or a migration changed
        what a prepared statement returns. Raises DependencyUnavailable when the database does not answer, Overloaded
        when it kept losing or a row stays locked by someone else.
        """
        begin = partial(_begin, max_seconds, computes=computes)
        for attempt in range(ATTEMPTS):
            place, answered = await self._gate.acquire(), False
            try:
                with self._gate.at_database():
                    async with Transaction(self._cache, QUERIES, begin) as connection:
                        # Not an AsyncConnection, but all of one that a store needs.
                        result = await work(cast("AsyncConnection", connection))
            except (DBAPIError, ADAPTED_ERROR, *DRIVER_ERRORS, OSError, PoolTimeoutError) as error:
                if not _may_run_again(_unwrapped(error)):
                    raise self.named(error) from None
            else:
                answered = True
                return result
            finally:
                self._gate.release(place, answered=answered)
            await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - jitter, not a secret
        raise Overloaded(retry_after_seconds=1)

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Give a connection for `execute` alone, each statement a transaction of its own: one round trip a read.

        Statements raise DependencyUnavailable when the database does not answer.
        """
        return cast(
            "AbstractAsyncContextManager[AsyncConnection]",
            ReadConnection(self._cache, QUERIES, self._gate, self.named),
        )

    async def connect(self, *, timeout_seconds: float, **server_settings: str) -> asyncpg.Connection[asyncpg.Record]:
        """Open a connection beside the pool, for work that keeps a session of its own; `close` closes it too.

        Its statements end after `timeout_seconds`, and raise the driver's errors, which `named` translates. Raises
        DependencyUnavailable.
        """
        self._gate.check()
        try:
            connection = await self._dial(command_timeout=timeout_seconds, server_settings=server_settings)
        except (*DRIVER_ERRORS, OSError) as error:
            raise self.named(error) from None
        self._dedicated.add(connection)
        if self._watch is not None:
            self._watch(connection)
        return connection

    async def ready(self) -> bool:
        """Whether the database answers within a second, on a connection of its own.

        Work that waits for connections or locks says nothing about the database.
        """
        async with self._probing:
            try:
                await self._ask()
            except (*DRIVER_ERRORS, OSError) as error:
                if self._probe is not None:
                    self._probe.terminate()
                    self._probe = None
                if time.monotonic() - self._gate.answer_time < READY_SECONDS / 2:
                    return True
                self._refuse(isinstance(error, TimeoutError))
                return False
            self._refuse(False)
            return True

    async def watch(self) -> None:
        """Probe the database until cancelled.

        While it is silent, work is refused at once, and what waits for it is given up: calls that wait until their
        deadlines would fill the service, and would not be told why.
        """
        while True:
            answers = await self.ready()
            await asyncio.sleep(PROBE_SECONDS if answers else MAX_REDIAL_SECONDS)

    async def _ask(self) -> None:
        """Ask the database for an answer. Raises TimeoutError where it gave none, and the driver's errors."""

        async def ask() -> None:
            if self._probe is None or self._probe.is_closed():
                # Whatever happened to work's connections just now, it is no answer of the database.
                self._probe = await self._open(server_settings={"application_name": "azora-readiness"})
            await self._probe.execute("SELECT 1")
            self._gate.answer_time = time.monotonic()

        asking = asyncio.create_task(ask())
        try:
            for seconds in (READY_SECONDS, STALLED_SECONDS):
                await asyncio.wait([asking], timeout=seconds)
            if not asking.done():
                raise TimeoutError
            asking.result()
        finally:
            asking.cancel()

    def _refuse(self, silent: bool) -> None:
        if silent != self._gate.shut:
            logger.log(*(SILENT if silent else ANSWERS))
        self._gate.shut = silent
        if silent:
            self._gate.silent_time = time.monotonic()
            for dialling in self._dialling:
                if not dialling.expired():
                    dialling.reschedule(0)
            for connection in (*self._pooled, *self._dedicated):
                connection.terminate()

    async def _dial_pooled(self) -> asyncpg.Connection[asyncpg.Record]:
        settings = {
            "statement_timeout": str(STATEMENT_TIMEOUT_SECONDS * 1000),
            "idle_in_transaction_session_timeout": str(int(IDLE_SECONDS * 1000)),
            # A statement of a process that was killed ends, whatever it does or waits for.
            "client_connection_check_interval": "1s",
        }
        connection = await self._dial(
            command_timeout=STATEMENT_TIMEOUT_SECONDS, connection_class=_Connection, server_settings=settings
        )
        self._pooled.add(connection)
        return connection

    async def _dial(self, *, server_settings: Mapping[str, str], **options: Any) -> asyncpg.Connection[asyncpg.Record]:
        clock = asyncio.get_running_loop()
        if self._gate.shut or clock.time() < self._dial_at:
            note_failed_dependency()
            raise ConnectionRefusedError("the database does not answer, or refused a connection just now")
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS) as limit:
                self._dialling.add(limit)
                try:
                    connection = await self._open(server_settings=server_settings, **options)
                finally:
                    self._dialling.discard(limit)
        except asyncio.CancelledError:
            # Whatever others are answered on the connections that they have.
            note_late(DependencyUnavailable(retry_after_seconds=1))
            raise
        except (*DRIVER_ERRORS, OSError):
            if clock.time() >= self._dial_at:  # Those that dialled at once are refused once.
                self._dial_at = clock.time() + self._redial_seconds
                self._redial_seconds = min(2 * self._redial_seconds, MAX_REDIAL_SECONDS)
            raise
        self._redial_seconds = REDIAL_SECONDS
        return connection

    async def _open(self, *, server_settings: Mapping[str, str], **options: Any) -> asyncpg.Connection[asyncpg.Record]:
        settings = {"timezone": "UTC", **server_settings}
        return await asyncpg.connect(self._dsn, timeout=None, server_settings=settings, **options)

    async def close(self) -> None:
        """Close all connections."""
        await self._cache.close()
        dedicated = [*self._dedicated, self._probe] if self._probe else self._dedicated
        await asyncio.gather(*(connection.close(timeout=1) for connection in dedicated), return_exceptions=True)

    def waiting(self) -> AbstractContextManager[None]:
        """Give the context of a call that waits for work on connections of `connect`.

        A call whose deadline passes within says that the database did not answer, where that is known.
        """
        return self._gate.at_database()

    def named(self, error: Exception) -> Exception:
        """Return what a driver's error is raised as: DependencyUnavailable if the database did not answer."""
        driver = _unwrapped(error)
        constraint = getattr(driver, "constraint_name", None)
        if constraint in self._constraints:
            return self._constraints[constraint]()
        if _sqlstate(driver) in NOT_IN_TEXT:
            return ValidationFailed()
        if _sqlstate(driver) in {LOCK_NOT_AVAILABLE, *TRANSIENT}:  # Others were first, again and again.
            return Overloaded(retry_after_seconds=1)
        if _is_unavailable(driver):
            if self._gate.shut:
                note_failed_dependency()  # It was cut because the database is silent, for the other replicas, too.
            return DependencyUnavailable(retry_after_seconds=1)
        return StatementFailed(driver) if isinstance(driver, DRIVER_ERRORS) else error


def _unwrapped(error: Exception) -> Exception:
    """Return the driver's error behind SQLAlchemy's."""
    # Not SQLAlchemy's `driver_exception`, which raises ValueError for an InvalidCachedStatementError.
    adapted = error.orig if isinstance(error, DBAPIError) else error if isinstance(error, ADAPTED_ERROR) else None
    cause = adapted.__cause__ if adapted else None
    return cause if isinstance(cause, Exception) else error


def _may_run_again(driver: Exception) -> bool:
    return _sqlstate(driver) in TRANSIENT or isinstance(driver, asyncpg.InvalidCachedStatementError)


def _is_unavailable(driver: Exception) -> bool:
    """Whether the database did not answer, rather than refuse."""
    return (
        # The driver's own errors: a connection that was cut within a statement, before the driver has noticed.
        isinstance(driver, OSError | PoolTimeoutError | asyncpg.InternalClientError)
        # asyncpg's ValueErrors are values of the wrong type, found before anything was sent.
        or (isinstance(driver, asyncpg.InterfaceError) and not isinstance(driver, ValueError))
        or (_sqlstate(driver) or "").startswith(UNAVAILABLE_CLASSES)
    )


def _sqlstate(error: Exception) -> str | None:
    return getattr(error, "sqlstate", None)
