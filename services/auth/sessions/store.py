"""The SQL of sessions and refresh tokens. The database's clock decides what has ended."""

from __future__ import annotations

from datetime import timedelta
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
    select,
    update,
)

from services.auth.revocations.store import users
from services.auth.sessions.model import OpenSession, RefreshToken, Session, UsedToken
from services.shared.db import Id, Time
from services.shared.keyset import BEFORE_ANY_ID, Keyset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    Column("device", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("last_use_time", Time, nullable=False),
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
FIND_REFRESH_TOKEN = (
    select(sessions.c.user_id, refresh_tokens.c.session_id, refresh_tokens.c.create_time, refresh_tokens.c.expire_time)
    .join_from(refresh_tokens, sessions, refresh_tokens.c.session_id == sessions.c.id)
    .where(
        refresh_tokens.c.digest == bindparam("token_digest"),
        refresh_tokens.c.use_time.is_(None),
        refresh_tokens.c.expire_time > func.now(),
        OPEN,
    )
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
IDLE_END = sessions.c.last_use_time + bindparam("idle", type_=Interval)
LIST_OPEN = (
    select(
        sessions.c.id,
        sessions.c.device,
        sessions.c.address,
        sessions.c.create_time,
        sessions.c.last_use_time,
        func.least(sessions.c.expire_time, IDLE_END),
    )
    .where(
        sessions.c.user_id == bindparam("of_user"),
        sessions.c.id < bindparam("before_id", type_=Id),
        OPEN,
        func.now() < IDLE_END,
    )
    .order_by(sessions.c.id.desc())
    .limit(bindparam("page_limit"))
)
FIND_OF_USER = select(sessions.c.id).where(
    sessions.c.id == bindparam("of_session"), sessions.c.user_id == bindparam("of_user")
)
FIND_OPEN = FIND_OF_USER.where(OPEN)
UPDATE_LAST_USE = (
    update(sessions)
    .values(last_use_time=func.now(), address=bindparam("new_address"))
    .where(sessions.c.id == bindparam("used_id"))
)
LOCK_EPOCH = select(users.c.epoch).where(users.c.id == bindparam("of_user")).with_for_update(read=True)
DELETE_EXPIRED = delete(sessions).where(sessions.c.user_id == bindparam("of_user"), sessions.c.expire_time < func.now())
FIND_SESSION = (
    select(sessions.c.id, sessions.c.user_id)
    .join_from(refresh_tokens, sessions, sessions.c.id == refresh_tokens.c.session_id)
    .where(refresh_tokens.c.digest == bindparam("token_digest"))
)


EXPORT = (
    select(sessions.c.id, sessions.c.device, sessions.c.address, sessions.c.create_time, sessions.c.last_use_time)
    .add_columns(sessions.c.revoke_time)
    .where(sessions.c.user_id == bindparam("of_user"))
)
EXPORTED = Keyset.by(EXPORT, {sessions.c.id: BEFORE_ANY_ID})
DELETE_OF = delete(sessions).where(sessions.c.user_id == bindparam("of_user"))


class SessionStore:
    """Reads and writes sessions."""

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:  # noqa: ARG002 - PersonalData's
        """Return a person's sessions."""
        return {"sessions": EXPORTED.of(of_user=user_id)}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Delete a person's sessions with their tokens."""
        return (await connection.execute(DELETE_OF, {"of_user": user_id})).rowcount

    async def insert_session(
        self, connection: AsyncConnection, session: Session, *, device: str, address: str, lifetime: timedelta
    ) -> None:
        """Insert a session that ends after `lifetime`."""
        values = {
            "id": session.id,
            "user_id": session.user_id,
            "family_secret_sealed": session.family_secret_sealed,
            "device": device,
            "address": address,
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

    async def list_open_sessions(
        self, connection: AsyncConnection, *, user_id: str, before: str, limit: int, idle: timedelta
    ) -> Sequence[OpenSession]:
        """Return the user's sessions that have not ended, below an id, the newest first."""
        values = {"of_user": user_id, "before_id": before, "page_limit": limit, "idle": idle}
        return [OpenSession(*row) for row in await connection.execute(LIST_OPEN, values)]

    async def is_session_of(self, connection: AsyncConnection, session_id: str, *, user_id: str) -> bool:
        """Whether the session, ended or not, is the user's."""
        values = {"of_session": session_id, "of_user": user_id}
        return (await connection.execute(FIND_OF_USER, values)).one_or_none() is not None

    async def is_open(self, connection: AsyncConnection, session_id: str, *, user_id: str) -> bool:
        """Whether the session is the user's and has not ended."""
        values = {"of_session": session_id, "of_user": user_id}
        return (await connection.execute(FIND_OPEN, values)).one_or_none() is not None

    async def update_last_use(self, connection: AsyncConnection, session_id: str, *, address: str) -> None:
        """Note that the session is used now, from this address."""
        await connection.execute(UPDATE_LAST_USE, {"used_id": session_id, "new_address": address})

    async def find_refresh_token(self, connection: AsyncConnection, digest: bytes) -> RefreshToken | None:
        """Return a refresh token that can be used; None for every other token."""
        row = (await connection.execute(FIND_REFRESH_TOKEN, {"token_digest": digest})).one_or_none()
        return RefreshToken(*row) if row else None

    async def find_session(self, connection: AsyncConnection, digest: bytes) -> tuple[str, str] | None:
        """Return the ids of the session and the user of a refresh token, used or not; None if it is unknown."""
        row = (await connection.execute(FIND_SESSION, {"token_digest": digest})).one_or_none()
        return (row.id, row.user_id) if row else None

    async def lock_epoch(self, connection: AsyncConnection, user_id: str) -> int | None:
        """Return the user's epoch, which nobody raises before the transaction has ended; None without such a user."""
        epoch: int | None = (await connection.execute(LOCK_EPOCH, {"of_user": user_id})).scalar_one_or_none()
        return epoch

    async def delete_expired_sessions(self, connection: AsyncConnection, user_id: str) -> None:
        """Delete the user's sessions that are past their end, with all their tokens."""
        await connection.execute(DELETE_EXPIRED, {"of_user": user_id})
