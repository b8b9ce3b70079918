"""The SQL of sessions and refresh tokens. The database's clock decides what has ended."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Interval, and_, bindparam, delete, func, insert, select, update

from services.auth.sessions.model import Session, UsedToken
from services.auth.tables import refresh_tokens, sessions

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

REPEAT_WINDOW = timedelta(seconds=30)

OPEN = and_(sessions.c.revoke_time.is_(None), sessions.c.expire_time > func.now())
"""Whether a session has not ended; joined by others that ask."""
SESSION = (sessions.c.id, sessions.c.user_id, sessions.c.family_secret_sealed)

ADD = insert(sessions).values(expire_time=func.now() + bindparam("lifetime", type_=Interval))
ADD_TOKEN = insert(refresh_tokens).values(
    expire_time=func.least(
        func.now() + bindparam("idle", type_=Interval),
        select(sessions.c.expire_time).where(sessions.c.id == bindparam("of_session")).scalar_subquery(),
    )
)
CLAIM = (
    update(refresh_tokens)
    .values(use_time=func.now())
    .where(
        refresh_tokens.c.digest == bindparam("token_digest"),
        refresh_tokens.c.use_time.is_(None),
        refresh_tokens.c.expire_time > func.now(),
        refresh_tokens.c.session_id == sessions.c.id,
        OPEN,
    )
    .returning(*SESSION)
)
SUCCESSOR = refresh_tokens.alias("successor")
FIND_USED = (
    select(
        *SESSION,
        and_(
            refresh_tokens.c.use_time > func.now() - bindparam("window", REPEAT_WINDOW, Interval),
            SUCCESSOR.c.use_time.is_(None),
        ).label("repeatable"),
    )
    .join_from(refresh_tokens, sessions, refresh_tokens.c.session_id == sessions.c.id)
    .join(SUCCESSOR, SUCCESSOR.c.parent_digest == refresh_tokens.c.digest)
    .where(refresh_tokens.c.digest == bindparam("token_digest"), OPEN)
)
REVOKE = (
    update(sessions)
    .values(revoke_time=func.now())
    .where(sessions.c.id == bindparam("ended"), sessions.c.revoke_time.is_(None))
)
SWEEP = delete(sessions).where(sessions.c.user_id == bindparam("of_user"), sessions.c.expire_time < func.now())


class SessionStore:
    """Reads and writes sessions."""

    async def add(self, connection: AsyncConnection, session: Session, *, lifetime: timedelta) -> None:
        """Begin a session."""
        values = {
            "id": session.id,
            "user_id": session.user_id,
            "family_secret_sealed": session.family_secret_sealed,
            "lifetime": lifetime,
        }
        await connection.execute(ADD, values)

    async def add_token(
        self,
        connection: AsyncConnection,
        *,
        session_id: str,
        digest: bytes,
        parent_digest: bytes | None,
        idle: timedelta,
    ) -> None:
        """Add the session's newest refresh token, good for `idle` and never longer than the session."""
        values = {"digest": digest, "parent_digest": parent_digest, "session_id": session_id}
        await connection.execute(ADD_TOKEN, {**values, "of_session": session_id, "idle": idle})

    async def claim(self, connection: AsyncConnection, digest: bytes) -> Session | None:
        """Use an unused refresh token and return its session; None for every other token. One caller gets it."""
        row = (await connection.execute(CLAIM, {"token_digest": digest})).one_or_none()
        return Session(*row) if row else None

    async def find_used(self, connection: AsyncConnection, digest: bytes) -> UsedToken | None:
        """Return a token that was used before; None if it is unknown or its session has ended."""
        row = (await connection.execute(FIND_USED, {"token_digest": digest})).one_or_none()
        return UsedToken(Session(row.id, row.user_id, row.family_secret_sealed), row.repeatable) if row else None

    async def revoke(self, connection: AsyncConnection, session_id: str) -> None:
        """End a session, if it has not ended."""
        await connection.execute(REVOKE, {"ended": session_id})

    async def sweep(self, connection: AsyncConnection, user_id: str) -> None:
        """Delete the user's sessions that are past their end, with all their tokens."""
        await connection.execute(SWEEP, {"of_user": user_id})
