"""The SQL of revocations, of users' epochs and of the end of sessions. The database's clock decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    Column,
    DateTime,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    column,
    func,
    or_,
    select,
    table,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from services.auth.revocations.model import Revocation
from services.shared.db import Id, Time
from services.shared.revocations import Revoked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.revocations.model import Cause

revocations = Table(
    "revocations",
    MetaData(),
    Column("id", Id, primary_key=True),
    Column("cause", Text, nullable=False),
    Column("session_id", Id),
    Column("user_id", Id),
    Column("before_epoch", Integer),
    Column("except_session_id", Id),
    Column("key_id", Id),
    Column("create_time", Time, nullable=False),
)
users = table("users", column("id", Id), column("epoch", Integer))
"""What revocation knows of accounts, which are a folder above this one."""
sessions = table("sessions", column("id", Id), column("user_id", Id), column("revoke_time", DateTime(timezone=True)))
"""What revocation knows of sessions, which are a folder above this one."""

INSERT = insert(revocations).on_conflict_do_nothing()
UPDATE_EPOCH = (
    update(users).values(epoch=users.c.epoch + 1).where(users.c.id == bindparam("of_user")).returning(users.c.epoch)
)
END_SESSION = (
    update(sessions)
    .values(revoke_time=func.now())
    .where(sessions.c.id == bindparam("ended_id"), sessions.c.revoke_time.is_(None))
)
END_SESSIONS = (
    update(sessions)
    .values(revoke_time=func.now())
    .where(
        sessions.c.user_id == bindparam("of_user"),
        sessions.c.revoke_time.is_(None),
        sessions.c.id.is_distinct_from(bindparam("kept_id", type_=Id)),
    )
)
POSITION = (revocations.c.create_time, revocations.c.id)
LISTED = (
    revocations.c.id,
    revocations.c.create_time,
    revocations.c.session_id,
    revocations.c.user_id,
    revocations.c.before_epoch,
    revocations.c.except_session_id,
    revocations.c.key_id,
)
LIST = (
    select(*LISTED)
    .where(tuple_(*POSITION) > tuple_(bindparam("after_time", type_=Time), bindparam("after_id", type_=Id)))
    .order_by(*POSITION)
    .limit(bindparam("page_limit"))
)
IS_REVOKED = select(
    select(revocations.c.id)
    .where(
        or_(
            revocations.c.session_id == bindparam("of_session"),
            revocations.c.key_id == bindparam("of_key"),
            and_(
                revocations.c.user_id == bindparam("of_user"),
                revocations.c.before_epoch > bindparam("of_epoch"),
                revocations.c.except_session_id.is_distinct_from(bindparam("of_session")),
            ),
        )
    )
    .exists()
)
NOW = select(func.clock_timestamp())


class RevocationStore:
    """Reads and writes revocations."""

    async def insert_revocation(
        self,
        connection: AsyncConnection,
        *,
        revocation_id: str,
        cause: Cause,
        session_id: str | None = None,
        user_id: str | None = None,
        before_epoch: int | None = None,
        except_session_id: str | None = None,
        key_id: str | None = None,
    ) -> None:
        """Insert a revocation; that of a session or key which has one already is left out."""
        values = {
            "id": revocation_id,
            "cause": cause,
            "session_id": session_id,
            "user_id": user_id,
            "before_epoch": before_epoch,
            "except_session_id": except_session_id,
            "key_id": key_id,
        }
        await connection.execute(INSERT, values)

    async def update_epoch(self, connection: AsyncConnection, user_id: str) -> int | None:
        """Raise the user's epoch and return it; None without such a user. Holds the user's row until the commit."""
        epoch: int | None = (await connection.execute(UPDATE_EPOCH, {"of_user": user_id})).scalar_one_or_none()
        return epoch

    async def update_session(self, connection: AsyncConnection, session_id: str) -> bool:
        """End a session; False if it has been ended."""
        return (await connection.execute(END_SESSION, {"ended_id": session_id})).rowcount > 0

    async def update_sessions(self, connection: AsyncConnection, user_id: str, *, except_id: str | None) -> None:
        """End all sessions of the user but one."""
        await connection.execute(END_SESSIONS, {"of_user": user_id, "kept_id": except_id})

    async def find_time(self, connection: AsyncConnection) -> datetime:
        """Return the database's time."""
        time: datetime = (await connection.execute(NOW)).scalar_one()
        return time

    async def is_revoked(
        self, connection: AsyncConnection, *, session_id: str, user_id: str, epoch: int, key_id: str
    ) -> bool:
        """Whether a token with these claims is covered by a revocation: by session, by key, or by user and epoch."""
        values = {"of_session": session_id, "of_key": key_id, "of_user": user_id, "of_epoch": epoch}
        found: bool = (await connection.execute(IS_REVOKED, values)).scalar_one()
        return found

    async def list_revocations(
        self, connection: AsyncConnection, *, after_time: datetime, after_id: str, limit: int
    ) -> Sequence[Revocation]:
        """Return the revocations after a position, the oldest first."""
        values = {"after_time": after_time, "after_id": after_id, "page_limit": limit}
        return [
            Revocation(
                row.id,
                row.create_time,
                Revoked(
                    session_id=row.session_id or "",
                    user_id=row.user_id or "",
                    before_epoch=row.before_epoch or 0,
                    except_session_id=row.except_session_id or "",
                    key_id=row.key_id or "",
                ),
            )
            for row in await connection.execute(LIST, values)
        ]
