"""The SQL of accounts."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Integer,
    Table,
    Text,
    and_,
    bindparam,
    case,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from services.auth.accounts.model import (
    Credentials,
    ProfileChanges,
    Role,
    SessionCredentials,
    SessionStatus,
    User,
    UserState,
)
from services.auth.sessions.store import OPEN, TABLES, sessions
from services.shared.db import Id, Time
from services.shared.personal_data import list_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    Column("state", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("bio", Text, nullable=False),
    Column("avatar_url", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("preferences", JSON(none_as_null=True), nullable=False),
    Column("name_version", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("email_verify_time", Time),
    Column("create_time", Time, nullable=False),
    Column("update_time", Time, nullable=False),
)

USER = (  # In the order of the model's fields.
    users.c.id,
    users.c.email,
    users.c.role,
    users.c.state,
    users.c.name,
    users.c.bio,
    users.c.avatar_url,
    users.c.location,
    users.c.timezone,
    users.c.preferences,
    users.c.create_time,
    users.c.update_time,
    users.c.email_verify_time.is_not(None).label("email_verified"),
)
FIND = select(*USER).where(users.c.id == bindparam("user_id"))
LOCK = FIND.with_for_update(read=True)
FIND_CREDENTIALS = select(*USER, users.c.password_hash, users.c.epoch).where(
    users.c.email_folded == bindparam("folded")
)
FIND_SESSION_CREDENTIALS = (
    select(*USER, users.c.password_hash, OPEN.label("open"), (func.now() - sessions.c.create_time).label("age"))
    .join_from(users, sessions, sessions.c.user_id == users.c.id)
    .where(users.c.id == bindparam("user_id"), sessions.c.id == bindparam("session_id"))
)
FIND_CREDENTIALS_OF = select(*USER, users.c.password_hash, users.c.epoch).where(users.c.id == bindparam("user_id"))
LOCK_ACCOUNT = FIND_CREDENTIALS_OF.with_for_update(key_share=True)
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
INSERT = (
    insert(users)
    .values(email_verify_time=case((bindparam("is_verified", type_=Boolean), func.now())))
    .on_conflict_do_nothing(index_elements=[users.c.email_folded])
    .returning(*USER)
)
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
UPDATE_PASSWORD = update(users).values(password_hash=bindparam("new_hash")).where(users.c.id == bindparam("user_id"))
UPDATE_EMAIL = (
    update(users)
    .values(
        email=bindparam("new_email"),
        email_folded=bindparam("new_folded"),
        email_verify_time=func.now(),
        update_time=func.now(),
    )
    .where(users.c.id == bindparam("user_id"))
)
UPDATE_EMAIL_VERIFIED = (
    update(users)
    .values(email_verify_time=func.now())
    .where(users.c.id == bindparam("user_id"), users.c.email_verify_time.is_(None))
)
LOCK_ADMINISTRATORS = text("SELECT pg_advisory_xact_lock(hashtextextended('administrators', 0))")
LIST_ADMINISTRATORS = (
    select(users.c.id)
    .where(users.c.role == Role.ADMIN, users.c.state == UserState.ACTIVE)
    .limit(bindparam("row_limit"))
)
UPDATE_ROLE = (
    update(users).values(role=bindparam("new_role")).where(users.c.id == bindparam("user_id")).returning(*USER)
)
UPDATE_STATE = (
    update(users).values(state=bindparam("new_state")).where(users.c.id == bindparam("user_id")).returning(*USER)
)


EXPORT = select(
    *(users.c.id, users.c.email, users.c.role, users.c.name, users.c.bio, users.c.avatar_url, users.c.location),
    *(users.c.timezone, users.c.preferences, users.c.email_verify_time, users.c.create_time, users.c.update_time),
).where(users.c.id == bindparam("user_id"))
DELETE = delete(users).where(users.c.id == bindparam("user_id"))


class AccountStore:
    """Reads and writes accounts."""

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:
        """Return a person's profile."""
        return {"users": await list_rows(connection, EXPORT, user_id=user_id)}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Delete a person's account, and with it sessions, devices, links and second factors."""
        return (await connection.execute(DELETE, {"user_id": user_id})).rowcount

    async def find_user(self, connection: AsyncConnection, user_id: str) -> User | None:
        """Return the user of this id."""
        row = (await connection.execute(FIND, {"user_id": user_id})).one_or_none()
        return user_of(row) if row else None

    async def lock_user(self, connection: AsyncConnection, user_id: str) -> User | None:
        """Return the user of this id under a shared row lock."""
        row = (await connection.execute(LOCK, {"user_id": user_id})).one_or_none()
        return user_of(row) if row else None

    async def find_credentials(self, connection: AsyncConnection, email: EmailAddress) -> Credentials | None:
        """Return the user of this address, regardless of case, with the password hash and epoch."""
        row = (await connection.execute(FIND_CREDENTIALS, {"folded": email.folded})).one_or_none()
        return Credentials(user_of(row), row.password_hash, row.epoch) if row else None

    async def find_session_credentials(
        self, connection: AsyncConnection, *, user_id: str, session_id: str
    ) -> SessionCredentials | None:
        """Return the user of a session with the password hash; None if it is not the user's."""
        values = {"user_id": user_id, "session_id": session_id}
        row = (await connection.execute(FIND_SESSION_CREDENTIALS, values)).one_or_none()
        return SessionCredentials(user_of(row), row.password_hash, row.open, row.age) if row else None

    async def find_credentials_of(self, connection: AsyncConnection, user_id: str) -> Credentials | None:
        """Return the user of this id, with the password hash and epoch."""
        row = (await connection.execute(FIND_CREDENTIALS_OF, {"user_id": user_id})).one_or_none()
        return Credentials(user_of(row), row.password_hash, row.epoch) if row else None

    async def lock_account(self, connection: AsyncConnection, user_id: str) -> Credentials | None:
        """Return the same under a row lock, which excludes every other change of the account."""
        row = (await connection.execute(LOCK_ACCOUNT, {"user_id": user_id})).one_or_none()
        return Credentials(user_of(row), row.password_hash, row.epoch) if row else None

    async def find_session_status(
        self, connection: AsyncConnection, *, user_id: str, session_id: str
    ) -> SessionStatus | None:
        """Return the user and whether the session is theirs and open."""
        row = (
            await connection.execute(FIND_SESSION_STATUS, {"user_id": user_id, "session_id": session_id})
        ).one_or_none()
        return SessionStatus(user_of(row), row.session_open) if row else None

    async def insert_user(self, connection: AsyncConnection, user: NewUser) -> User | None:
        """Insert the account and return its user; None if its address is taken."""
        values = {
            "id": user.id,
            "email": user.email.text,
            "email_folded": user.email.folded,
            "password_hash": user.password_hash,
            "role": user.role,
            "name": user.name.text,
            "is_verified": user.email_verified,
        }
        row = (await connection.execute(INSERT, values)).one_or_none()
        return user_of(row) if row else None

    async def update_profile(
        self, connection: AsyncConnection, user_id: str, changes: ProfileChanges
    ) -> tuple[User, int]:
        """Update the profile of a user who exists; return it, and the version of its name."""
        values = {f"new_{name}": value for name, value in asdict(changes).items()}
        row = (await connection.execute(UPDATE_PROFILE, {"user_id": user_id, **values})).one()
        return user_of(row), row.name_version

    async def update_password_hash(
        self, connection: AsyncConnection, user_id: str, *, old_hash: str, new_hash: str
    ) -> None:
        """Replace the hash of a password that has not changed since."""
        await connection.execute(UPDATE_PASSWORD_HASH, {"user_id": user_id, "old_hash": old_hash, "new_hash": new_hash})

    async def update_password(self, connection: AsyncConnection, user_id: str, *, new_hash: str) -> None:
        """Set another password."""
        await connection.execute(UPDATE_PASSWORD, {"user_id": user_id, "new_hash": new_hash})

    async def update_email(self, connection: AsyncConnection, user_id: str, email: EmailAddress) -> None:
        """Set another address, verified. Raises EmailTaken."""
        values = {"user_id": user_id, "new_email": email.text, "new_folded": email.folded}
        await connection.execute(UPDATE_EMAIL, values)

    async def update_email_verified(self, connection: AsyncConnection, user_id: str) -> bool:
        """Mark the user's address as verified; return whether it was not."""
        return (await connection.execute(UPDATE_EMAIL_VERIFIED, {"user_id": user_id})).rowcount > 0

    async def lock_administrators(self, connection: AsyncConnection) -> None:
        """Wait until nobody else takes an administrator's role or state."""
        await connection.execute(LOCK_ADMINISTRATORS)

    async def list_administrator_ids(self, connection: AsyncConnection, *, limit: int) -> Sequence[str]:
        """Return the ids of active administrators."""
        return (await connection.execute(LIST_ADMINISTRATORS, {"row_limit": limit})).scalars().all()

    async def update_role(self, connection: AsyncConnection, user_id: str, role: Role) -> User:
        """Assign a role to a user who exists; return the user."""
        return user_of((await connection.execute(UPDATE_ROLE, {"user_id": user_id, "new_role": role})).one())

    async def update_state(self, connection: AsyncConnection, user_id: str, state: UserState) -> User:
        """Set the state of a user who exists; return the user."""
        return user_of((await connection.execute(UPDATE_STATE, {"user_id": user_id, "new_state": state})).one())


def user_of(row: Row[*tuple[Any, ...]]) -> User:
    """Return the user of a row that begins with `USER`."""
    user_id, email, role, state, *profile = row[: len(USER)]
    return User(user_id, email, Role(role), UserState(state), *profile)
