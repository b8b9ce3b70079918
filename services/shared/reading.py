"""Reads outside a transaction, on the driver's connection: a quarter of the CPU of SQLAlchemy's own execution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary, WeakSet

import asyncpg
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.selectable import SelectBase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Dialect, Executable, Result
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from sqlalchemy.pool import PoolProxiedConnection

    from services.shared.gate import Gate

    Process = Callable[[Any], Any]


UNKNOWN_TYPE = 0
"""Of an oid: what a column is read as is told by the statement alone."""


class Query:
    """A SELECT, compiled: its SQL, and what turns parameters into the driver's values and records into rows."""

    def __init__(self, statement: SelectBase, compiled: SQLCompiler) -> None:
        dialect = compiled.dialect
        columns = statement.exported_columns
        self.sql = str(compiled)
        self._parameters = [_Parameter(name, compiled, dialect) for name in compiled.positiontup or ()]
        self._metadata = SimpleResultMetaData(columns.keys())
        self._labelled = False
        processors = (column.type.dialect_impl(dialect).result_processor(dialect, UNKNOWN_TYPE) for column in columns)
        self._processors = [(index, process) for index, process in enumerate(processors) if process]

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the driver's positional arguments. Raises KeyError for a parameter without a value."""
        return [parameter.argument(values) for parameter in self._parameters]

    def result(self, records: Sequence[Any]) -> Result[*tuple[Any, ...]]:
        """Return the driver's records as SQLAlchemy's result."""
        if records and not self._labelled:
            # PostgreSQL has the last word on what anonymous columns are called.
            self._metadata, self._labelled = SimpleResultMetaData(tuple(records[0].keys())), True
        return IteratorResult(self._metadata, iter([self._row(record) for record in records]))

    def _row(self, record: Iterable[Any]) -> tuple[Any, ...]:
        values = list(record)
        for index, process in self._processors:
            values[index] = process(values[index])
        return tuple(values)


class _Parameter:
    def __init__(self, name: str, compiled: SQLCompiler, dialect: Dialect) -> None:
        bind = compiled.binds[name]
        self._name = name
        self._required = bind.required
        self._default = bind.effective_value
        self._process = bind.type.dialect_impl(dialect).bind_processor(dialect)

    def argument(self, values: Mapping[str, Any]) -> Any:
        value = values[self._name] if self._required else values.get(self._name, self._default)
        return self._process(value) if self._process else value


class Queries:
    """The compiled form of the statements that modules build once and run again and again.

    A statement seen for the first time may have been built for this call; SQLAlchemy compiles and caches those.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._seen: WeakSet[Executable] = WeakSet()
        self._compiled: WeakKeyDictionary[Executable, Query | None] = WeakKeyDictionary()

    def find(self, statement: Executable) -> Query | None:
        """Return the compiled form; None where SQLAlchemy has to execute the statement itself."""
        try:
            return self._compiled[statement]
        except KeyError:
            if statement not in self._seen:
                self._seen.add(statement)
                return None
        query = self._compiled[statement] = self._compile(statement)
        return query

    def _compile(self, statement: Executable) -> Query | None:
        if not isinstance(statement, SelectBase):
            return None
        compiled = statement.compile(dialect=self._dialect)
        # The text of an expanding IN depends on the values.
        if not isinstance(compiled, SQLCompiler) or compiled.post_compile_params or compiled.literal_execute_params:
            return None
        try:
            return Query(statement, compiled)
        except InvalidRequestError:
            return None  # Numeric: how it is read depends on the type that the server tells.


class ReadConnection:
    """A connection of the pool on which every statement is a transaction of its own; only `execute` is there.

    Statements that a module built once run on the driver's connection, everything else through SQLAlchemy.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        queries: Queries,
        gate: Gate,
        named: Callable[[Exception], Exception],
    ) -> None:
        """Take connections from `engine` (AUTOCOMMIT) within `gate`; raise the errors that `named` returns."""
        self._engine = engine
        self._queries = queries
        self._gate = gate
        self._place = ""
        self._answered = False
        self._named = named
        self._raw: PoolProxiedConnection | None = None
        self._connection: AsyncConnection | None = None

    async def __aenter__(self) -> Self:
        self._place = await self._gate.acquire()
        return self

    async def __aexit__(self, _kind: object, error: object, _traceback: object) -> None:
        try:
            await self._close()
        finally:
            self._gate.release(self._place, answered=self._answered and error is None)

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Result[*tuple[Any, ...]]:
        """Execute a reading statement and return its result, which is in memory as a whole."""
        query = self._queries.find(statement)
        try:
            with self._gate.at_database():
                if query is not None:
                    result = query.result(await self._fetch(query.sql, query.arguments(parameters or {})))
                else:
                    result = await (await self._sqlalchemy()).execute(statement, parameters)
        except Exception as error:  # noqa: BLE001 - `named` tells them apart
            raise self._named(error) from None
        self._answered = True
        return result

    async def _fetch(self, sql: str, arguments: Sequence[Any]) -> Sequence[Any]:
        driver = await self._driver()
        try:
            records: Sequence[Any] = await driver.fetch(sql, *arguments)
        except asyncpg.PostgresError:
            raise  # The server's answer: the connection is good, or closed, which its next user sees.
        except BaseException:
            # Cancelled, timed out or cut: nobody else may be lent a connection that is still busy.
            self._invalidate()
            raise
        return records

    async def _driver(self) -> Any:
        """Return asyncpg's connection, which has no types."""
        if self._connection is not None:
            await self._close()
        if self._raw is None:
            self._raw = await self._engine.raw_connection()
        driver: Any = self._raw.driver_connection
        if driver.is_closed():  # Since the statement before; the pool gives none that is.
            self._invalidate()
            return await self._driver()
        return driver

    async def _sqlalchemy(self) -> AsyncConnection:
        if self._connection is None:
            await self._close()
            self._connection = await self._engine.connect()
        return self._connection

    def _invalidate(self) -> None:
        if self._raw is not None:
            self._raw.invalidate()
            self._raw = None

    async def _close(self) -> None:
        raw, self._raw = self._raw, None
        connection, self._connection = self._connection, None
        if raw is not None:
            raw.close()
        if connection is not None:
            await connection.close()
