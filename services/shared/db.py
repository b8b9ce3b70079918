"""The way to the database: transactions as closures, reads without one, driver errors named at one border."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Literal, TypeVar

from sqlalchemy import DateTime, MetaData, Uuid, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import QueuePool

from services.shared.errors import DependencyUnavailable, DomainError, Overloaded, ValidationFailed
from services.shared.telemetry import trace_statements

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from opentelemetry.trace import Tracer

Result = TypeVar("Result")

# Serialization failure and deadlock: the loser's transaction did nothing and may simply run again.
TRANSIENT = {"40001", "40P01"}
# Connection failures, shutdown, crash, too many connections, out of disk or memory: the database, not the request.
UNAVAILABLE_CLASSES = ("08", "53", "57P0")
# The character NUL: protobuf's strings may hold it, PostgreSQL's text may not.
NOT_IN_TEXT = "22021"
ATTEMPTS = 5
CONNECT_TIMEOUT_SECONDS = 2
STATEMENT_TIMEOUT_SECONDS = 10

NAMING_CONVENTION = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}


Id = Uuid(as_uuid=False)
"""UUIDs, as text in lower case."""
Time = DateTime(timezone=True)
ID_MAX = "ffffffff-ffff-ffff-ffff-ffffffffffff"
"""Not below any id: where a list that runs backwards begins."""


def metadata() -> MetaData:
    """Return the MetaData of a service's tables, with PostgreSQL's own names for constraints."""
    return MetaData(naming_convention=NAMING_CONVENTION)


class Gate(asyncio.Semaphore):
    """A semaphore that says how many wait for it."""

    waiting = 0

    async def acquire(self) -> Literal[True]:
        """Wait for a turn."""
        self.waiting += 1
        try:
            return await super().acquire()
        finally:
            self.waiting -= 1


class Database:
    """One service's database. Work is a closure that may run again after a deadlock, so it holds nothing but SQL.

    `constraints` names the domain error behind a violated constraint: {"users_email_key": EmailTaken}. With a `tracer`
    statements within a recorded trace are spans.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        constraints: Mapping[str, type[DomainError]] | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._constraints = dict(constraints or {})
        # SQLAlchemy's pool wakes its waiters in no order; this gate in front of it is first come, first served.
        self._gate = Gate(pool_size)
        self._engine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_recycle=600,
            connect_args={
                "timeout": CONNECT_TIMEOUT_SECONDS,
                "command_timeout": STATEMENT_TIMEOUT_SECONDS,
                "server_settings": {
                    "statement_timeout": str(STATEMENT_TIMEOUT_SECONDS * 1000),
                    "idle_in_transaction_session_timeout": str(STATEMENT_TIMEOUT_SECONDS * 1000),
                    "timezone": "UTC",
                },
            },
        )
        if tracer is not None:
            trace_statements(self._engine, tracer)
        self._reading = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def connections_in_use(self) -> int:
        """Connections that work has taken from the pool."""
        pool = self._engine.pool
        return pool.checkedout() if isinstance(pool, QueuePool) else 0

    @property
    def work_waiting(self) -> int:
        """Transactions and reads that wait for a connection."""
        return self._gate.waiting

    async def transaction(self, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
        """Run `work` in one transaction and commit it; a DomainError rolls it back.

        Runs again, at most five times, when PostgreSQL chose it as the victim of a deadlock.
        Raises DependencyUnavailable when the database does not answer, Overloaded when it kept losing.
        """
        for attempt in range(ATTEMPTS):
            try:
                async with self._gate, self._engine.begin() as connection:
                    return await work(connection)
            except DBAPIError as error:
                if _sqlstate(error) not in TRANSIENT:
                    raise self._named(error) from error
            except (OSError, PoolTimeoutError) as error:
                raise DependencyUnavailable(retry_after_seconds=1) from error
            await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - jitter, not a secret
        raise Overloaded(retry_after_seconds=1)

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection on which every statement is a transaction of its own: one round trip a read.

        Raises DependencyUnavailable when the database does not answer.
        """
        try:
            async with self._gate, self._reading.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise self._named(error) from error
        except (OSError, PoolTimeoutError) as error:
            raise DependencyUnavailable(retry_after_seconds=1) from error

    async def ready(self) -> bool:
        """Whether the database answers within two seconds."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS), self.reading() as connection:
                await connection.execute(text("SELECT 1"))
        except (DomainError, DBAPIError, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    def _named(self, error: DBAPIError) -> Exception:
        constraint = getattr(error.orig.__cause__, "constraint_name", None) if error.orig else None
        if constraint in self._constraints:
            return self._constraints[constraint]()
        if _sqlstate(error) == NOT_IN_TEXT:
            return ValidationFailed(metadata={"rule": "no_nul"})
        if (_sqlstate(error) or "").startswith(UNAVAILABLE_CLASSES) or (
            isinstance(error, InterfaceError | OperationalError) or error.connection_invalidated
        ):
            return DependencyUnavailable(retry_after_seconds=1)
        return error


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)
