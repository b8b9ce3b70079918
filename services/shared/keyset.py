"""Collections of a person that grow without bound: they are exported in pages, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, tuple_

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Column, Executable, Select
    from sqlalchemy.ext.asyncio import AsyncConnection

PAGE_ROWS = 500
BEFORE_ANY_ID = "00000000-0000-0000-0000-000000000000"
BEFORE_ANY_TIME = datetime.fromtimestamp(0, UTC)


class Keyset:
    """A SELECT that is read in pages by a key."""

    def __init__(
        self,
        statement: Executable,
        start: Sequence[Any],
        *,
        rows: int = PAGE_ROWS,
        item: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> None:
        """Take a statement whose last columns are the key, and whose parameters are :after_0, ... and :page_limit.

        `start` is before any key, and `item` makes a JSON object of a row; unless given, its columns have the names of
        fields.
        """
        self.statement = statement
        self.start = tuple(start)
        self.rows = rows
        self.item = item

    @classmethod
    def by(
        cls,
        statement: Select[Any],
        key: Mapping[Column[Any], Any],
        *,
        rows: int = PAGE_ROWS,
        item: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> Keyset:
        """Return the pages of a statement in the order of these columns, each with a value that is before any."""
        after = [bindparam(f"after_{index}", type_=column.type) for index, column in enumerate(key)]
        keyed = (
            statement.add_columns(*(column.label(f"key_{index}") for index, column in enumerate(key)))
            .where(tuple_(*key) > tuple_(*after))
            .order_by(None)
            .order_by(*key)
            .limit(bindparam("page_limit"))
        )
        return cls(keyed, list(key.values()), rows=rows, item=item)

    def of(self, **values: Any) -> Pages:
        """Return the pages with these values of the statement's other parameters."""
        return Pages(self, values)


@dataclass(frozen=True, slots=True)
class Pages:
    """A collection, read in pages."""

    keyset: Keyset
    values: Mapping[str, Any]

    async def read(
        self, connection: AsyncConnection, after: tuple[Any, ...] | None = None
    ) -> tuple[Sequence[Mapping[str, Any]], tuple[Any, ...] | None]:
        """Return the page after a key, the first unless given, and its last key; None if there is no other page."""
        keyset = self.keyset
        key = {f"after_{index}": value for index, value in enumerate(after or keyset.start)}
        result = await connection.execute(keyset.statement, {**self.values, **key, "page_limit": keyset.rows})
        columns = len(keyset.start)
        names = [field_name(name) for name in [*result.keys()][:-columns]]
        rows = result.all()
        items = [keyset.item(row) if keyset.item else dict(zip(names, row, strict=False)) for row in rows]
        return items, tuple(rows[-1][-columns:]) if len(rows) == keyset.rows else None


def field_name(column: str) -> str:
    """Return the name in JSON of a column: "createTime" of "create_time"."""
    first, *others = column.split("_")
    return first + "".join(word.capitalize() for word in others)
