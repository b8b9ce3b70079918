"""The SQL of a group: one statement locks, one reads under the locks, one writes. Each is composed of what is needed.

Resources add the kinds of rows that their commands read and write as a `Kind`, in their own stores.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import Text
from sqlalchemy.dialects import postgresql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Dialect, Table
    from sqlalchemy.types import TypeEngine

AnyRow = TypeVar("AnyRow")

DIALECT: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]

MAX_EXPIRED = 256
"""Rows of one kind and account that one group takes as expired. Commands of an account with more wait for another."""


class Label(Text):
    """Type of a column of capital letters and underscores alone, which need no quotes in a literal."""


def columns_of(table: Table, *names: str) -> dict[str, str]:
    """Return the types of a table's columns as literals are made of them, by name: of all, or those named."""
    return {name: _type_name(table.c[name].type) for name in names or table.c.keys()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[AnyRow]):
    """One kind of row that commands read and write: its class, and its SQL.

    In the selections {keys} stands for the text[] of the keys that commands need, and {accounts} for the uuid[] of the
    accounts that are locked.
    """

    type: type[AnyRow]
    select: str = ""
    """SELECT of the rows of the keys. Empty if insert only."""
    read: Callable[[Any], AnyRow] = operator.itemgetter(0)
    """Makes a row of the values that `select` returns."""
    table: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Types of the columns that are inserted, from `columns_of`; the first is the primary key. Empty if read only."""
    mutable: tuple[str, ...] = ()
    """Columns that are updated."""
    values: Callable[[AnyRow], Sequence[Any]] = lambda _: ()
    """Returns a row's values, in the order of `columns`."""
    accounts: str = ""
    """SELECT of key, wallet ID and currency, which never change, of the accounts of the rows of the keys."""
    expired: str = ""
    """SELECT as `select`, of the rows of the locked accounts that have expired by `clock.now` and are active: at most
    MAX_EXPIRED of each account."""


class Parameters:
    """The positional parameters of a statement that is composed."""

    def __init__(self) -> None:
        self.values: list[str] = []

    def array(self, values: Iterable[Any], kind: str) -> str:
        """Add an array and return its placeholder."""
        self.values.append(array(values, kind))
        return _placeholder(len(self.values), kind)

    def unnest(self, columns: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> str:
        """Add rows as one array for each column, and return the function call that makes them rows again."""
        kinds = tuple(columns.values())
        call = _unnest(kinds, len(self.values))
        self.values += map(array, zip(*rows, strict=True), kinds)
        return call


def array(values: Iterable[Any], kind: str) -> str:
    """Return PostgreSQL's literal of an array: the driver's own encoding of arrays takes several times as long."""
    literal = _LITERALS[kind]
    return "{" + ",".join(["NULL" if value is None else literal(value) for value in values]) + "}"


@lru_cache(maxsize=1024)
def _unnest(kinds: Sequence[str], before: int) -> str:
    """Return the function call on arrays whose parameters follow `before` others."""
    return f"unnest({', '.join(_placeholder(number, kind) for number, kind in enumerate(kinds, before + 1))})"


def _type_name(kind: TypeEngine[Any]) -> str:
    return "label" if isinstance(kind, Label) else kind.compile(DIALECT).lower()


def _placeholder(number: int, kind: str) -> str:
    return f"${number}::text::{'text' if kind == 'label' else kind}[]"


def _quoted(value: str) -> str:
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'


def _bytes(value: bytes) -> str:
    return f'"\\\\x{value.hex()}"'


_LITERALS: Mapping[str, Callable[[Any], str]] = {
    "uuid": str,
    "bigint": str,
    "integer": str,
    "smallint": str,
    "boolean": str,
    "label": str,
    "text": _quoted,
    "bytea": _bytes,
    "numeric": str,
    "timestamp with time zone": datetime.isoformat,
}
"""Literals by type."""


def insert(table: str, columns: Mapping[str, str], rows: Iterable[Sequence[Any]], parameters: Parameters) -> str:
    """Return the statement that inserts rows."""
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM {parameters.unnest(columns, rows)}"  # noqa: S608 - names from code


def update(
    table: str,
    columns: Mapping[str, str],
    rows: Iterable[Sequence[Any]],
    parameters: Parameters,
    *,
    key: Sequence[str],
    added: Sequence[str] = (),
) -> str:
    """Return the statement that updates rows by their `key`; the columns in `added` are added to what is there."""
    values = parameters.unnest(columns, rows)
    changes = ", ".join(
        f"{name} = {f'old.{name} + ' if name in added else ''}new.{name}" for name in columns if name not in key
    )
    matches = " AND ".join(f"old.{name} = new.{name}" for name in key)
    return f"UPDATE {table} old SET {changes} FROM {values} AS new ({', '.join(columns)}) WHERE {matches}"  # noqa: S608 - names from code
