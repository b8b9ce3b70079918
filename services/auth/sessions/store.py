"""The SQL of sessions and refresh tokens. The database's clock decides what has ended."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import (
    Column,
    Interval,
    LargeBinary,
    MetaData,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from services.auth.revocations.store import users
from services.auth.sessions.model import Session, UsedToken
from services.shared.db import Id, Time
from services.shared.retention import Retention

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

REPEAT_WINDOW = timedelta(seconds=30)

TABLES = MetaData()

sessions = Table(
    "sessions",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("family_secret_sealed", LargeBinary, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("expire_time", Time, nullable=False),
    Column("revoke_time", Time),
)
refresh_tokens = Table(
    "refresh_tokens",
    TABLES,
    Column("digest", LargeBinary, primary_key=True),
    Column("parent_digest", LargeBinary),
    Column("session_id", Id, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("expire_time", Time, nullable=False),
    Column("use_time", Time),
)

OPEN = and_(sessions.c.revoke_time.is_(None), sessions.c.expire_time > func.now())
"""Whether a session has not ended; joined by others that ask."""
SESSION = (sessions.c.id, sessions.c.user_id, sessions.c.family_secret_sealed, users.c.epoch)

INSERT = insert(sessions).values(expire_time=func.now() + bindparam("lifetime", type_=Interval))
INSERT_TOKEN = insert(refresh_tokens).values(
    expire_time=func.least(
        func.now() + bindparam("idle", type_=Interval),
        select(sessions.c.expire_time).where(sessions.c.id == bindparam("of_session")).scalar_subquery(),
    )
)
UPDATE_USE_TIME = (
    update(refresh_tokens)
    .values(use_time=func.now())
    .where(
        refresh_tokens.c.digest == bindparam("token_digest"),
        refresh_tokens.c.use_time.is_(None),
        refresh_tokens.c.expire_time > func.now(),
        refresh_tokens.c.session_id == sessions.c.id,
        sessions.c.user_id == users.c.id,
        OPEN,
    )
    .returning(*SESSION)
)
SUCCESSOR = refresh_tokens.alias("successor")
FIND_USED_TOKEN = (
    select(
        *SESSION,
        and_(
            refresh_tokens.c.use_time > func.now() - bindparam("window", REPEAT_WINDOW, Interval),
            SUCCESSOR.c.use_time.is_(None),
        ).label("repeatable"),
    )
    .join_from(refresh_tokens, sessions, refresh_tokens.c.session_id == sessions.c.id)
    .join(users, users.c.id == sessions.c.user_id)
    .join(SUCCESSOR, SUCCESSOR.c.parent_digest == refresh_tokens.c.digest)
    .where(refresh_tokens.c.digest == bindparam("token_digest"), OPEN)
)
LOCK_EPOCH = select(users.c.epoch).where(users.c.id == bindparam("of_user")).with_for_update(read=True)
DELETE_EXPIRED = delete(sessions).where(sessions.c.user_id == bindparam("of_user"), sessions.c.expire_time < func.now())


FIND_SESSION_ID = select(refresh_tokens.c.session_id).where(refresh_tokens.c.digest == bindparam("token_digest"))


def retentions() -> tuple[Retention, ...]:
    """Return the retentions of refresh tokens that have expired, used ones included, and of sessions past their end.

    Tokens first: with a session that has many of them, all would be deleted at once.
    """
    return tuple(Retention(table.name, "expire_time", timedelta()) for table in (refresh_tokens, sessions))


class SessionStore:
    """Reads and writes sessions."""

    async def insert_session(self, connection: AsyncConnection, session: Session, *, lifetime: timedelta) -> None:
        """Insert a session that ends after `lifetime`."""
        values = {
            "id": session.id,
            "user_id": session.user_id,
            "family_secret_sealed": session.family_secret_sealed,
            "lifetime": lifetime,
        }
        await connection.execute(INSERT, values)

    async def insert_token(
        self,
        connection: AsyncConnection,
        *,
        session_id: str,
        digest: bytes,
        parent_digest: bytes | None,
        idle: timedelta,
    ) -> None:
        """Insert the session's newest refresh token, valid for `idle` and never longer than the session."""
        values = {"digest": digest, "parent_digest": parent_digest, "session_id": session_id}
        await connection.execute(INSERT_TOKEN, {**values, "of_session": session_id, "idle": idle})

    async def update_use_time(self, connection: AsyncConnection, digest: bytes) -> Session | None:
        """Use an unused refresh token and return its session; None for every other token. One caller gets it."""
        row = (await connection.execute(UPDATE_USE_TIME, {"token_digest": digest})).one_or_none()
        return Session(*row) if row else None

    async def find_used_token(self, connection: AsyncConnection, digest: bytes) -> UsedToken | None:
        """Return a token that was used before; None if it is unknown or its session has ended."""
        row = (await connection.execute(FIND_USED_TOKEN, {"token_digest": digest})).one_or_none()
        return UsedToken(Session(*row[: len(SESSION)]), row.repeatable) if row else None

    async def find_session_id(self, connection: AsyncConnection, digest: bytes) -> str | None:
        """Return the session of a refresh token, used or not; None if it is unknown."""
        found: str | None = (await connection.execute(FIND_SESSION_ID, {"token_digest": digest})).scalar_one_or_none()
        return found

    async def lock_epoch(self, connection: AsyncConnection, user_id: str) -> int | None:
        """Return the user's epoch, which nobody raises before the transaction has ended; None without such a user."""
        epoch: int | None = (await connection.execute(LOCK_EPOCH, {"of_user": user_id})).scalar_one_or_none()
        return epoch

    async def delete_expired_sessions(self, connection: AsyncConnection, user_id: str) -> None:
        """Delete the user's sessions that are past their end, with all their tokens."""
        await connection.execute(DELETE_EXPIRED, {"of_user": user_id})
