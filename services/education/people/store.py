"""The SQL of people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, delete
from sqlalchemy.dialects.postgresql import insert

from services.shared.db import Id

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.people.model import UserRenamed

people = Table(
    "people",
    MetaData(),
    Column("user_id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("name_version", BigInteger, nullable=False),
)

_new = insert(people)
UPDATE_NAME = _new.on_conflict_do_update(
    index_elements=[people.c.user_id],
    set_={"name": _new.excluded.name, "name_version": _new.excluded.name_version},
    where=people.c.name_version < _new.excluded.name_version,
).returning(people.c.user_id)


class PeopleStore:
    """Reads and writes names."""

    async def update_name(self, connection: AsyncConnection, event: UserRenamed) -> bool:
        """Keep a name, unless a newer one is known; return whether it was kept."""
        values = {"user_id": event.user_id, "name": event.name, "name_version": event.version}
        return (await connection.execute(UPDATE_NAME, values)).first() is not None

    async def delete_name(self, connection: AsyncConnection, user_id: str) -> bool:
        """Forget a person's name; return whether it was known."""
        statement = delete(people).where(people.c.user_id == user_id).returning(people.c.user_id)
        return (await connection.execute(statement)).first() is not None
