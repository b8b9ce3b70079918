"""How PostgreSQL executes a statement: what it sorts, and how many rows it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ClauseElement, Executable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping


class Explain(Executable, ClauseElement):
    """A statement, executed and explained."""

    inherit_cache = False

    def __init__(self, statement: Any) -> None:
        self.statement = statement


@compiles(Explain)
def _explain(element: Explain, compiler: Any, **options: Any) -> str:
    return f"EXPLAIN (ANALYZE, FORMAT JSON) {compiler.process(element.statement, **options)}"


class Noting:
    """Stands in for a connection: notes a store's statement and its values instead of executing it."""

    statement: Any
    values: Mapping[str, Any]

    async def execute(self, statement: Any, values: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
        """Note the statement; return no rows."""
        self.statement, self.values = statement, values or {}
        return ()


@dataclass(frozen=True, slots=True)
class Plan:
    """An executed plan."""

    sorts: bool
    rows_read: int
    """The most rows that any scan of a table returned or dropped."""


async def explain(url: str, statement: Any, values: Mapping[str, Any]) -> Plan:
    """Execute a statement after bringing the planner's statistics up to date; return how it went."""
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            await connection.exec_driver_sql("ANALYZE")
            (explained,) = (await connection.execute(Explain(statement), values)).scalar_one()
    finally:
        await engine.dispose()
    nodes = list(_nodes(explained["Plan"]))
    scans = [node for node in nodes if "Scan" in node["Node Type"] and "Relation Name" in node]
    return Plan(
        sorts=any("Sort" in node["Node Type"] for node in nodes),
        rows_read=max(
            int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]) for node in scans
        ),
    )


async def explain_list(url: str, read: Callable[[Any], Awaitable[object]]) -> Plan:
    """Explain the statement that a store's method executes on the connection that it is given."""
    noting = Noting()
    await read(noting)
    return await explain(url, noting.statement, noting.values)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)
