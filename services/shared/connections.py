"""Connections of the pool, as stores use them: reads, each a transaction of its own, and transactions."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import asyncpg
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from sqlalchemy import Executable, Result
    from sqlalchemy.pool import PoolProxiedConnection

    from services.shared.connection_cache import ConnectionCache
    from services.shared.gate import Gate
    from services.shared.statements import Queries

CANCEL_SECONDS = 0.05
"""How long a call that is over waits for its statement to be cancelled; else PostgreSQL notices within a second."""
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

Raised = TypeVar("Raised", bound=BaseException)


def driver_error(error: Raised, driver: Any) -> Raised | asyncpg.InterfaceError:
    """Return what an error on the driver's connection means: a lost connection, or itself.

    asyncpg raises AttributeError where a connection is terminated between two messages of a statement.
    """
    if isinstance(error, AttributeError) and driver.is_closed():
        return asyncpg.InterfaceError("the connection was terminated")
    return error


class _PooledConnection:
    """Statements that a module built once run on the driver's connection, everything else through SQLAlchemy.

    SQLAlchemy's side never begins a transaction: the engine is one of AUTOCOMMIT.
    """

    def __init__(self, cache: ConnectionCache, queries: Queries) -> None:
        self._cache = cache
        self._queries = queries
        self._raw: PoolProxiedConnection | None = None
        self._connection: AsyncConnection | None = None

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> Result[*tuple[Any, ...]]:
        """Execute a statement and return its result, which is in memory as a whole."""
        if isinstance(parameters, list) and len(parameters) != 1:
            return await (await self._sqlalchemy()).execute(statement, parameters)
        values = cast("Mapping[str, Any]", parameters[0] if isinstance(parameters, list) else parameters or {})
        query = self._queries.find(statement, values)
        if query is None:
            return await (await self._sqlalchemy()).execute(statement, values)
        arguments = query.arguments(values)
        return query.result(*await self._run(lambda driver: driver.run(query.sql, arguments)))

    async def _run(self, work: Callable[[Any], Any]) -> Any:
        driver = await self._driver()
        try:
            return await work(driver)
        except asyncpg.PostgresError:
            raise  # The server's answer: the connection is good, or closed, which its next user sees.
        except BaseException as error:
            failure = driver_error(error, driver)  # Not below: what is given up is closed.
            # Cancelled, timed out or cut: nobody else may be given a connection that is still busy.
            await self._give_up()
            if failure is not error:
                raise failure from None
            raise

    async def _driver(self) -> Any:
        """Return asyncpg's connection, which has no types."""
        raise NotImplementedError

    async def _give_up(self) -> None:
        """Close the connection, whatever it is doing."""
        raw, self._raw, self._connection = self._raw, None, None
        if raw is not None:
            self._cache.discard(raw)

    async def _sqlalchemy(self) -> AsyncConnection:
        await self._driver()
        if self._connection is None:
            engine = self._cache.engine
            self._connection = AsyncConnection(engine, Connection(engine.sync_engine, self._raw))
        return self._connection

    def _release(self) -> None:
        raw, self._raw, self._connection = self._raw, None, None
        if raw is not None:
            self._cache.release(raw)


class ReadConnection(_PooledConnection):
    """A connection on which every statement is a transaction of its own."""

    def __init__(
        self, cache: ConnectionCache, queries: Queries, gate: Gate, named: Callable[[Exception], Exception]
    ) -> None:
        """Take connections from `cache` within `gate`; raise the errors that `named` returns."""
        super().__init__(cache, queries)
        self._gate = gate
        self._place = ""
        self._answered = False
        self._named = named

    async def __aenter__(self) -> Self:
        self._place = await self._gate.acquire()
        return self

    async def __aexit__(self, _kind: object, error: object, _traceback: object) -> None:
        try:
            self._release()
        finally:
            self._gate.release(self._place, answered=self._answered and error is None)

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> Result[*tuple[Any, ...]]:
        """Execute a reading statement and return its result, which is in memory as a whole."""
        try:
            with self._gate.at_database():
                result = await super().execute(statement, parameters)
        except Exception as error:  # noqa: BLE001 - `named` tells them apart
            raise self._named(error) from None
        self._answered = True
        return result

    async def _driver(self) -> Any:
        if self._raw is not None and (not self._raw.is_valid or self._raw.driver_connection.is_closed()):  # type: ignore[union-attr]
            await self._give_up()  # It was lost since the statement before.
        self._raw = self._raw or await self._cache.acquire()
        return self._raw.driver_connection


class Transaction(_PooledConnection):
    """A connection in a transaction, which is committed when the block ends, and rolled back when that raises."""

    def __init__(self, cache: ConnectionCache, queries: Queries, begin: Callable[[], str]) -> None:
        """Take a connection from `cache`; `begin` returns the SQL that begins the transaction, when there is one."""
        super().__init__(cache, queries)
        self._begin = begin

    async def __aenter__(self) -> Self:
        self._raw = await self._cache.acquire()
        try:
            await self.exec_driver_sql(self._begin())
        except BaseException:
            self._release()
            raise
        return self

    async def __aexit__(self, _kind: object, error: object, _traceback: object) -> None:
        try:
            if error is None:
                status = await self.exec_driver_sql("COMMIT;")
                if status != "COMMIT":
                    raise RuntimeError("a statement of the transaction had failed, so nothing was committed")
            elif self.open:
                with suppress(*DRIVER_ERRORS, OSError):  # PostgreSQL rolls back where the connection is lost.
                    await self.exec_driver_sql("ROLLBACK;")
        finally:
            self._release()

    @property
    def open(self) -> bool:
        """Whether the transaction has begun and not ended."""
        return self._raw is not None and self._raw.is_valid and not self._raw.driver_connection.is_closed()  # type: ignore[union-attr]

    @asynccontextmanager
    async def begin_nested(self) -> AsyncIterator[None]:
        """Take back what the block has written if it raises an error, and nothing else."""
        await self.exec_driver_sql("SAVEPOINT nested")
        try:
            yield
        except Exception:
            if self.open:
                # Without its release an outer block would go back to this one only: savepoints have one name.
                await self.exec_driver_sql("ROLLBACK TO SAVEPOINT nested; RELEASE SAVEPOINT nested")
            raise
        await self.exec_driver_sql("RELEASE SAVEPOINT nested")

    async def exec_driver_sql(self, sql: str, arguments: Sequence[Any] = ()) -> str:
        """Execute SQL as the driver takes it, and return its status: "UPDATE 3"."""
        status: str = await self._run(lambda driver: driver.execute(sql, *arguments))
        return status

    async def _driver(self) -> Any:
        if self._raw is None or not self._raw.is_valid:
            raise asyncpg.InterfaceError("the transaction's connection was lost")
        return self._raw.driver_connection

    async def _give_up(self) -> None:
        # Its statement is cancelled, if that can be done soon: it may hold locks.
        raw = self._raw
        driver: Any = raw.driver_connection if raw is not None and raw.is_valid else None
        try:
            if driver is not None and not driver.is_closed():
                await asyncio.shield(_close(driver))
        finally:
            await super()._give_up()


async def _close(driver: Any) -> None:
    # What it raises is of no use to anyone, nor to the log where nobody waits for it any more.
    with suppress(*DRIVER_ERRORS, OSError):
        await driver.close(timeout=CANCEL_SECONDS)
