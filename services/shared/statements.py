"""The statements that modules build once, compiled once: a quarter of the CPU of SQLAlchemy's own execution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import TextClause
from sqlalchemy.sql.selectable import SelectBase, TextualSelect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Dialect, Executable

    Process = Callable[[Any], Any]


UNKNOWN_TYPE = 0
"""Of an oid: what a column is read as is told by the statement alone."""
ANONYMOUS = "?column?"
"""What PostgreSQL calls a column without a name."""


class Rows(IteratorResult[*tuple[Any, ...]]):
    """The rows that a statement returned, and how many it wrote."""

    rowcount = -1


class Query:
    """A statement, compiled: its SQL, and what turns parameters into the driver's values and records into rows."""

    def __init__(self, statement: SelectBase | UpdateBase | TextClause, compiled: SQLCompiler) -> None:
        dialect = compiled.dialect
        self.sql = str(compiled)
        columns: Any = {} if isinstance(statement, TextClause) else statement.exported_columns
        self._parameters = [_Parameter(name, compiled, dialect) for name in compiled.positiontup or ()]
        names = [str(name) for name in columns.keys()]  # noqa: SIM118 - a collection of columns is iterated by column
        # A text's columns are known with its first row. Without any, `scalars` asks for the first column all the same.
        self._metadata = SimpleResultMetaData(names or [ANONYMOUS])
        self._labelled = False
        processors: list[Process | None] = [
            column.type.dialect_impl(dialect).result_processor(dialect, UNKNOWN_TYPE) for column in columns
        ]
        self._processors = [(index, process) for index, process in enumerate(processors) if process]
        # The columns of a text are declared by name, in any order and not all of them.
        self._by_name: dict[str, Process | None] | None = None
        if isinstance(statement, TextualSelect):
            self._by_name = dict(zip(names, processors, strict=True))

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the driver's positional arguments. Raises KeyError for a parameter without a value."""
        return [parameter.argument(values) for parameter in self._parameters]

    def result(self, records: Sequence[Any], status: str) -> Rows:
        """Return as SQLAlchemy's result the driver's records, and its status, which says how many: "UPDATE 3"."""
        if records and not self._labelled:
            # PostgreSQL has the last word on what anonymous columns are called.
            names = tuple(records[0].keys())
            self._metadata, self._labelled = SimpleResultMetaData(names), True
            if self._by_name is not None:
                found = [(index, self._by_name.get(name)) for index, name in enumerate(names)]
                self._processors = [(index, process) for index, process in found if process]
        rows = Rows(self._metadata, iter([self._row(record) for record in records]))
        count = status.rpartition(" ")[2]
        if count.isdecimal():  # Not of LOCK, for one.
            rows.rowcount = int(count)
        return rows

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
        self._compiled: WeakKeyDictionary[Executable, dict[tuple[str, ...], Query | None]] = WeakKeyDictionary()

    def find(self, statement: Executable, names: Iterable[str] = ()) -> Query | None:
        """Return the compiled form for parameters of these names; None where SQLAlchemy has to execute it itself."""
        # What is inserted without VALUES of its own are the columns that there are parameters of.
        names = tuple(names) if isinstance(statement, UpdateBase) else ()
        try:
            return self._compiled[statement][names]
        except KeyError:
            if statement not in self._seen:
                self._seen.add(statement)
                return None
        query = self._compiled.setdefault(statement, {})[names] = self._compile(statement, names)
        return query

    def _compile(self, statement: Executable, names: tuple[str, ...]) -> Query | None:
        if not isinstance(statement, SelectBase | UpdateBase | TextClause):
            return None
        compiled = statement.compile(dialect=self._dialect, column_keys=list(names) or None)
        # The text of an expanding IN depends on the values.
        if not isinstance(compiled, SQLCompiler) or compiled.post_compile_params or compiled.literal_execute_params:
            return None
        if compiled.insert_prefetch or compiled.update_prefetch:
            return None  # Values that SQLAlchemy makes.
        try:
            return Query(statement, compiled)
        except InvalidRequestError:
            return None  # Numeric: how it is read depends on the type that the server tells.
