"""The SQL of the administration of users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, func, or_, select

from services.auth.accounts.store import USER, user_of, users
from services.shared.db import ID_MAX, Id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.model import User
    from services.auth.users.model import UserFilter
    from services.shared.pagination import PageRequest

LIST = select(*USER).where(users.c.id < bindparam("before", type_=Id)).order_by(users.c.id.desc())


class UserStore:
    """Lists users."""

    async def list_users(self, connection: AsyncConnection, matching: UserFilter, page: PageRequest) -> Sequence[User]:
        """Return one user more than the page holds, newest first."""
        statement = LIST.where(*_conditions(matching)).limit(page.limit)
        before = page.cursor[0] if page.cursor else ID_MAX
        return [user_of(row) for row in await connection.execute(statement, {"before": before})]


def _conditions(matching: UserFilter) -> Iterator[ColumnElement[bool]]:
    if matching.role is not None:
        yield users.c.role == matching.role
    if matching.state is not None:
        yield users.c.state == matching.state
    if matching.start_time is not None:
        yield users.c.create_time >= matching.start_time
    if matching.end_time is not None:
        yield users.c.create_time < matching.end_time
    if matching.query:
        yield or_(users.c.email_folded.op("^@")(_folded(matching.query)), _name_contains(matching.query))


def _name_contains(text: str) -> ColumnElement[bool]:
    """Return whether a name contains a text, as the index of n-grams answers it.

    The position decides, without wildcards. It stands first, since it is checked at once where the index is not read.
    """
    return and_(
        func.strpos(_folded(users.c.name), _folded(text)) > 0,
        func.name_ngrams(users.c.name).op("@>")(func.name_ngrams(text)),
    )


def _folded(text: Any) -> ColumnElement[str]:
    return func.name_folded(text)
