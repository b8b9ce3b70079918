"""The SQL of accounts."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, and_, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from services.auth.accounts.model import Credentials, Presence, ProfileChanges, Role, User
from services.auth.sessions.store import OPEN
from services.auth.tables import sessions, users

if TYPE_CHECKING:
    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.model import EmailAddress, NewUser

USER = (
    users.c.id,
    users.c.email,
    users.c.role,
    users.c.name,
    users.c.bio,
    users.c.avatar_url,
    users.c.location,
    users.c.timezone,
    users.c.create_time,
    users.c.update_time,
)
FIND = select(*USER).where(users.c.id == bindparam("user_id"))
FIND_CREDENTIALS = select(*USER, users.c.password_hash).where(users.c.email_folded == bindparam("folded"))
FIND_PRESENCE = (
    select(*USER, sessions.c.id.is_not(None).label("session_open"))
    .join_from(
        users,
        sessions,
        and_(sessions.c.user_id == users.c.id, sessions.c.id == bindparam("session_id"), OPEN),
        isouter=True,
    )
    .where(users.c.id == bindparam("user_id"))
)
ADD = insert(users).on_conflict_do_nothing(index_elements=[users.c.email_folded]).returning(*USER)
CHANGE = (
    update(users)
    .values(
        {
            "update_time": func.now(),
            **{
                name: func.coalesce(bindparam(f"new_{name}", type_=Text), users.c[name])
                for name in ProfileChanges.__dataclass_fields__
            },
        }
    )
    .where(users.c.id == bindparam("user_id"))
    .returning(*USER)
)
REHASH = (
    update(users)
    .values(password_hash=bindparam("new_hash"))
    .where(users.c.id == bindparam("user_id"), users.c.password_hash == bindparam("old_hash"))
)


class AccountStore:
    """Reads and writes accounts."""

    async def find(self, connection: AsyncConnection, user_id: str) -> User | None:
        """Return the user of this id."""
        row = (await connection.execute(FIND, {"user_id": user_id})).one_or_none()
        return _user(row) if row else None

    async def find_credentials(self, connection: AsyncConnection, email: EmailAddress) -> Credentials | None:
        """Return the user of this address, however its case, with the hash of the password."""
        row = (await connection.execute(FIND_CREDENTIALS, {"folded": email.folded})).one_or_none()
        return Credentials(_user(row), row.password_hash) if row else None

    async def find_presence(self, connection: AsyncConnection, *, user_id: str, session_id: str) -> Presence | None:
        """Return the user and whether the session is theirs and open."""
        row = (await connection.execute(FIND_PRESENCE, {"user_id": user_id, "session_id": session_id})).one_or_none()
        return Presence(_user(row), row.session_open) if row else None

    async def add(self, connection: AsyncConnection, user: NewUser) -> User | None:
        """Make the account; None if its address is taken."""
        values = {
            "id": user.id,
            "email": user.email.text,
            "email_folded": user.email.folded,
            "password_hash": user.password_hash,
            "role": user.role,
            "name": user.name,
        }
        row = (await connection.execute(ADD, values)).one_or_none()
        return _user(row) if row else None

    async def change(self, connection: AsyncConnection, user_id: str, changes: ProfileChanges) -> User:
        """Change the profile of a user who exists."""
        values = {f"new_{name}": value for name, value in asdict(changes).items()}
        return _user((await connection.execute(CHANGE, {"user_id": user_id, **values})).one())

    async def rehash(self, connection: AsyncConnection, user_id: str, *, old_hash: str, new_hash: str) -> None:
        """Replace the hash of a password that has not changed since."""
        await connection.execute(REHASH, {"user_id": user_id, "old_hash": old_hash, "new_hash": new_hash})


def _user(row: Row[*tuple[Any, ...]]) -> User:
    return User(
        id=row.id,
        email=row.email,
        role=Role(row.role),
        name=row.name,
        bio=row.bio,
        avatar_url=row.avatar_url,
        location=row.location,
        timezone=row.timezone,
        create_time=row.create_time,
        update_time=row.update_time,
    )
