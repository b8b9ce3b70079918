"""The SQL of the catalogue: narrow rows to filter, order and search by, kept by triggers for published courses."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    func,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import REGCONFIG, TSVECTOR

from services.education.catalogue.model import FoundCourse
from services.education.courses.model import CourseOrder
from services.education.courses.store import AS_READ, TABLES, courses
from services.education.enrollments.store import enrollments
from services.shared.db import ID_MAX, Id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.courses.model import CourseFilter
    from services.education.courses.store import CourseStore
    from services.shared.pagination import PageRequest

catalogue_entries = Table(
    "catalogue_entries",
    TABLES,
    Column("course_id", Id, primary_key=True),
    Column("title", Text, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("price_currency", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("primary_language", Text, nullable=False),
    Column("configuration", Text, nullable=False),
    Column("document", TSVECTOR, nullable=False),
)
catalogue_configurations = Table("catalogue_configurations", TABLES, Column("configuration", Text, primary_key=True))
"""The text search configurations of all entries."""

MAX_MATCHES = 10_000
MAX_RANKED = 1_000
"""Courses that one search ranks: the newest of its matches, of which no more are looked at than MAX_MATCHES."""
RANKS = 1_000_000
"""Ranks are whole numbers, in millionths, so that a page token names the place of a course exactly."""
FIRST_RANK = 2**31 - 1
REPEATED_NOT = re.compile(r"-[\s!&|()<>:*-]*-")
"""What PostgreSQL reads as nested negations, of which it takes about thirty and then fails."""

entry, e = catalogue_entries.c, enrollments.c
ORDERS: Mapping[CourseOrder, tuple[bool, tuple[tuple[ColumnElement[Any], Any], ...]]] = {
    CourseOrder.NEWEST: (True, ((entry.course_id, Id),)),
    CourseOrder.TITLE: (False, ((entry.title, Text), (entry.course_id, Id))),
    CourseOrder.PRICE: (False, ((entry.price_currency, Text), (entry.price_minor, BigInteger), (entry.course_id, Id))),
    CourseOrder.PRICE_DESCENDING: (
        True,
        ((entry.price_currency, Text), (entry.price_minor, BigInteger), (entry.course_id, Id)),
    ),
}
"""Whether an order descends, and the columns that it is by, with their types."""


@cache
def list_statement(order: CourseOrder, names: frozenset[str], *, first: bool) -> Select[*tuple[Any, ...]]:
    """Return the statement of a page in an order, with the filters of these names."""
    descending, keys = ORDERS[order]
    columns = [column for column, _ in keys]
    statement = (
        AS_READ.add_columns(*(column.label(f"place_{number}") for number, column in enumerate(columns)))
        .join(catalogue_entries, entry.course_id == courses.c.id)
        .where(*_conditions(names))
        .order_by(*(column.desc() if descending else column for column in columns))
        .limit(bindparam("count"))
    )
    if first:
        return statement
    place = tuple_(*(bindparam(f"after_{number}", type_=kind) for number, (_, kind) in enumerate(keys)))
    position = tuple_(*columns)
    return statement.where(position < place if descending else position > place)


@cache
def search_statement(names: frozenset[str]) -> Select[*tuple[Any, ...]]:
    """Return the statement of a page of search results, with the filters of these names.

    A query is read by the configuration of each document's language: there are few of them, and an index scan for each.
    """
    configuration = catalogue_configurations.c.configuration
    query = func.websearch_to_tsquery(cast(configuration, REGCONFIG), bindparam("query", type_=Text))
    asked = select(configuration, query.label("query")).cte("asked").prefix_with("MATERIALIZED", dialect="postgresql")
    matching = (
        select(entry.course_id, entry.document, asked.c.query)
        .join_from(
            asked,
            catalogue_entries,
            and_(entry.configuration == asked.c.configuration, entry.document.op("@@")(asked.c.query)),
        )
        .where(*_conditions(names))
        .limit(MAX_MATCHES)
        # By itself, or the planner would read all documents, newest first, in the hope of finding enough.
        .cte("matching")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    newest = select(matching).order_by(matching.c.course_id.desc()).limit(MAX_RANKED).subquery()
    rank = cast(func.ts_rank(newest.c.document, newest.c.query) * RANKS, Integer).label("rank")
    ranked = select(newest.c.course_id, rank).subquery()
    place = tuple_(ranked.c.rank, ranked.c.course_id)
    after = tuple_(bindparam("after_rank", type_=Integer), bindparam("after_id", type_=Id))
    page = (
        select(ranked.c.course_id, ranked.c.rank)
        .where(place < after)
        .order_by(ranked.c.rank.desc(), ranked.c.course_id.desc())
        .limit(bindparam("count"))
        .cte("page")
    )
    return (
        AS_READ.add_columns(page.c.rank)
        .join(page, page.c.course_id == courses.c.id)
        .order_by(page.c.rank.desc(), page.c.course_id.desc())
    )


class CatalogueStore:
    """Finds published courses."""

    def __init__(self, courses: CourseStore) -> None:
        self._courses = courses

    async def list_courses(
        self,
        connection: AsyncConnection,
        request: PageRequest,
        wanted: CourseFilter,
        order: CourseOrder,
        *,
        user_id: str | None,
    ) -> Sequence[FoundCourse]:
        """Return one course more than the page holds, in the order asked for."""
        names, bound = _bound(wanted, user_id)
        statement = list_statement(order, names, first=request.cursor is None)
        bound |= {"count": request.limit}
        bound |= {f"after_{number}": value for number, value in enumerate(request.cursor or ())}
        places = [f"place_{number}" for number in range(len(ORDERS[order][1]))]
        found = await self._courses.list_selected(connection, statement, bound)
        return [FoundCourse(course, tuple(getattr(row, name) for name in places)) for course, row in found]

    async def list_matches(
        self,
        connection: AsyncConnection,
        request: PageRequest,
        query: str,
        wanted: CourseFilter,
        *,
        user_id: str | None,
    ) -> Sequence[FoundCourse]:
        """Return one course more than the page holds of those that match a query, best first."""
        names, bound = _bound(wanted, user_id)
        after_rank, after_id = request.cursor or (FIRST_RANK, ID_MAX)
        bound |= {
            # As documents are indexed: PostgreSQL reads a chain of words joined by underscores in quadratic time.
            "query": REPEATED_NOT.sub("-", query).replace("_", ","),
            "count": request.limit,
            "after_rank": after_rank,
            "after_id": after_id,
        }
        found = await self._courses.list_selected(connection, search_statement(names), bound)
        return [FoundCourse(course, (row.rank, course.id)) for course, row in found]


def _bound(wanted: CourseFilter, user_id: str | None) -> tuple[frozenset[str], dict[str, Any]]:
    """Return the names of the filters that are set, and their values."""
    names, bound = set(), dict[str, Any]()
    if wanted.language:
        primary, *rest = wanted.language.split("-")
        names |= {"language", "region"} if rest else {"language"}
        bound |= {"primary_language": primary, "language": wanted.language, "regions": f"{wanted.language}-"}
    if wanted.min_price:
        names.add("min_price")
    if wanted.max_price:
        names.add("max_price")
    bound |= {
        "currency": wanted.currency,
        "min_price": wanted.min_price.amount_minor if wanted.min_price else None,
        "max_price": wanted.max_price.amount_minor if wanted.max_price else None,
    }
    if wanted.enrollment_state:
        names.add("enrollment_state")
        bound |= {"user_id": user_id, "enrollment_state": wanted.enrollment_state}
    return frozenset(names), bound


def _conditions(names: frozenset[str]) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if "language" in names:
        conditions.append(entry.primary_language == bindparam("primary_language"))
    if "region" in names:
        language = bindparam("language", type_=Text)
        conditions.append(or_(entry.language == language, func.starts_with(entry.language, bindparam("regions"))))
    if names & {"min_price", "max_price"}:
        conditions.append(_price(names))
    if "enrollment_state" in names:
        enrolled = select(e.course_id).where(
            e.user_id == bindparam("user_id"), e.state == bindparam("enrollment_state", type_=Text)
        )
        conditions.append(entry.course_id.in_(enrolled))
    return conditions


def _price(names: frozenset[str]) -> ColumnElement[bool]:
    """Return the condition of prices. What is free is free in any currency."""
    within = [entry.price_currency == bindparam("currency", type_=Text)]
    if "max_price" in names:
        within.append(entry.price_minor <= bindparam("max_price", type_=BigInteger))
    if "min_price" not in names:
        return or_(and_(*within), entry.price_minor == 0)
    least = bindparam("min_price", type_=BigInteger)
    return or_(and_(*within, entry.price_minor >= least), and_(entry.price_minor == 0, least == 0))
