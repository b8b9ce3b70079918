"""The SQL of links. The database's clock decides what has expired."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Column,
    Interval,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
)

from services.auth.links.model import Link, Purpose
from services.shared.db import Id, Time
from services.shared.opaque_tokens import token_digest
from services.shared.personal_data import list_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime, timedelta

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.model import EmailAddress

email_links = Table(
    "email_links",
    MetaData(),
    Column("digest", LargeBinary, primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("session_id", Id),
    Column("create_time", Time, nullable=False),
    Column("expire_time", Time, nullable=False),
)

LINK = (
    email_links.c.purpose,
    email_links.c.user_id,
    email_links.c.email,
    email_links.c.session_id,
    email_links.c.create_time,
)
VALID = and_(
    email_links.c.digest == bindparam("token_digest"),
    email_links.c.purpose.in_(bindparam("purposes", expanding=True)),
    email_links.c.expire_time > func.now(),
)
FIND = select(*LINK).where(VALID)
FIND_UNDO = (
    select(email_links.c.digest)
    .where(
        # Addresses are ASCII.
        func.lower(email_links.c.email) == bindparam("folded"),
        email_links.c.purpose == Purpose.EMAIL_UNDO,
        email_links.c.expire_time > func.now(),
    )
    .limit(1)
)
CLAIM = delete(email_links).where(VALID).returning(*LINK)
INSERT = insert(email_links).values(
    create_time=func.statement_timestamp(),
    expire_time=func.statement_timestamp() + bindparam("lifetime", type_=Interval),
)
DELETE = delete(email_links).where(
    email_links.c.user_id == bindparam("of_user"), email_links.c.purpose != Purpose.EMAIL_UNDO
)
DELETE_SINCE = delete(email_links).where(
    email_links.c.user_id == bindparam("of_user"),
    or_(email_links.c.purpose != Purpose.EMAIL_UNDO, email_links.c.create_time >= bindparam("since", type_=Time)),
)


EXPORT = (
    select(email_links.c.purpose, email_links.c.email, email_links.c.create_time, email_links.c.expire_time)
    .where(email_links.c.user_id == bindparam("of_user"))
    .order_by(email_links.c.create_time)
)
DELETE_ALL = delete(email_links).where(email_links.c.user_id == bindparam("of_user"))


class LinkStore:
    """Reads and writes links."""

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:
        """Return the links that were mailed to a person, without their tokens."""
        return {"emailLinks": await list_rows(connection, EXPORT, of_user=user_id)}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Delete all links of a person."""
        return (await connection.execute(DELETE_ALL, {"of_user": user_id})).rowcount

    async def insert_link(self, connection: AsyncConnection, *, token: str, link: Link, lifetime: timedelta) -> None:
        """Insert a link of this token."""
        values = {
            "digest": token_digest(token),
            "user_id": link.user_id,
            "purpose": link.purpose,
            "email": link.email,
            "session_id": link.session_id,
        }
        await connection.execute(INSERT, {**values, "lifetime": lifetime})

    async def find_link(self, connection: AsyncConnection, *, token: str, purposes: Collection[Purpose]) -> Link | None:
        """Return the link of this token; None if it is for something else, has expired or was used."""
        values = {"token_digest": token_digest(token), "purposes": sorted(purposes)}
        row = (await connection.execute(FIND, values)).one_or_none()
        return _link(row) if row else None

    async def is_restorable(self, connection: AsyncConnection, email: EmailAddress) -> bool:
        """Whether a valid link can restore this address, however its case."""
        return (await connection.execute(FIND_UNDO, {"folded": email.folded})).one_or_none() is not None

    async def claim_link(
        self, connection: AsyncConnection, *, token: str, purposes: Collection[Purpose]
    ) -> tuple[Link, datetime] | None:
        """Delete the link of this token and return it with its time; one caller gets it. None as `find_link`."""
        values = {"token_digest": token_digest(token), "purposes": sorted(purposes)}
        row = (await connection.execute(CLAIM, values)).one_or_none()
        return (_link(row), row.create_time) if row else None

    async def delete_links(self, connection: AsyncConnection, user_id: str, *, since: datetime | None = None) -> None:
        """Delete the user's links, but those that undo a change of address; with `since`, the later of these too."""
        if since is None:
            await connection.execute(DELETE, {"of_user": user_id})
        else:
            await connection.execute(DELETE_SINCE, {"of_user": user_id, "since": since})


def _link(row: Row[*tuple[Any, ...]]) -> Link:
    purpose, user_id, email, session_id = row[:4]
    return Link(Purpose(purpose), user_id, email, session_id)
