"""The SQL of accounts."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, BigInteger, Column, Integer, Table, Text, and_, bindparam, case, func, select, update
from sqlalchemy.dialects.postgresql import insert

from services.auth.accounts.model import Credentials, ProfileChanges, Role, SessionStatus, User
from services.auth.sessions.store import OPEN, TABLES, sessions
from services.shared.db import Id, Time

if TYPE_CHECKING:
    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.model import EmailAddress, NewUser

users = Table(
    "users",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("email", Text, nullable=False),
    Column("email_folded", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("bio", Text, nullable=False),
    Column("avatar_url", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("preferences", JSON(none_as_null=True), nullable=False),
    Column("name_version", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("update_time", Time, nullable=False),
)

USER = (  # In the order of the model's fields.
    users.c.id,
    users.c.email,
    users.c.role,
    users.c.name,
    users.c.bio,
    users.c.avatar_url,
    users.c.location,
    users.c.timezone,
    users.c.preferences,
    users.c.create_time,
    users.c.update_time,
)
FIND = select(*USER).where(users.c.id == bindparam("user_id"))
FIND_CREDENTIALS = select(*USER, users.c.password_hash, users.c.epoch).where(
    users.c.email_folded == bindparam("folded")
)
FIND_SESSION_STATUS = (
    select(*USER, sessions.c.id.is_not(None).label("session_open"))
    .join_from(
        users,
        sessions,
        and_(sessions.c.user_id == users.c.id, sessions.c.id == bindparam("session_id"), OPEN),
        isouter=True,
    )
    .where(users.c.id == bindparam("user_id"))
)
INSERT = insert(users).on_conflict_do_nothing(index_elements=[users.c.email_folded]).returning(*USER)
NEW_NAME = bindparam("new_name", type_=Text)
UPDATE_PROFILE = (
    update(users)
    .values(
        {
            "update_time": func.now(),
            "name_version": users.c.name_version + case((NEW_NAME.is_not(None), 1), else_=0),
            **{
                name: func.coalesce(bindparam(f"new_{name}", type_=users.c[name].type), users.c[name])
                for name in ProfileChanges.__dataclass_fields__
            },
        }
    )
    .where(users.c.id == bindparam("user_id"))
    .returning(*USER, users.c.name_version)
)
UPDATE_PASSWORD_HASH = (
    update(users)
    .values(password_hash=bindparam("new_hash"))
    .where(users.c.id == bindparam("user_id"), users.c.password_hash == bindparam("old_hash"))
)


class AccountStore:
    """Reads and writes accounts."""

    async def find_user(self, connection: AsyncConnection, user_id: str) -> User | None:
        """Return the user of this id."""
        row = (await connection.execute(FIND, {"user_id": user_id})).one_or_none()
        return _user(row) if row else None

    async def find_credentials(self, connection: AsyncConnection, email: EmailAddress) -> Credentials | None:
        """Return the user of this address, however its case, with the hash of the password."""
        row = (await connection.execute(FIND_CREDENTIALS, {"folded": email.folded})).one_or_none()
        return Credentials(_user(row), row.password_hash, row.epoch) if row else None

    async def find_session_status(
        self, connection: AsyncConnection, *, user_id: str, session_id: str
    ) -> SessionStatus | None:
        """Return the user and whether the session is theirs and open."""
        row = (
            await connection.execute(FIND_SESSION_STATUS, {"user_id": user_id, "session_id": session_id})
        ).one_or_none()
        return SessionStatus(_user(row), row.session_open) if row else None

    async def insert_user(self, connection: AsyncConnection, user: NewUser) -> User | None:
        """Insert the account and return its user; None if its address is taken."""
        values = {
            "id": user.id,
            "email": user.email.text,
            "email_folded": user.email.folded,
            "password_hash": user.password_hash,
            "role": user.role,
            "name": user.name.text,
        }
        row = (await connection.execute(INSERT, values)).one_or_none()
        return _user(row) if row else None

    async def update_profile(
        self, connection: AsyncConnection, user_id: str, changes: ProfileChanges
    ) -> tuple[User, int]:
        """Update the profile of a user who exists; return it, and the version of its name."""
        values = {f"new_{name}": value for name, value in asdict(changes).items()}
        row = (await connection.execute(UPDATE_PROFILE, {"user_id": user_id, **values})).one()
        return _user(row), row.name_version

    async def update_password_hash(
        self, connection: AsyncConnection, user_id: str, *, old_hash: str, new_hash: str
    ) -> None:
        """Replace the hash of a password that has not changed since."""
        await connection.execute(UPDATE_PASSWORD_HASH, {"user_id": user_id, "old_hash": old_hash, "new_hash": new_hash})


def _user(row: Row[*tuple[Any, ...]]) -> User:
    user_id, email, role, *profile = row[: len(USER)]
    return User(user_id, email, Role(role), *profile)
