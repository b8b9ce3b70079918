"""The SQL of API keys. The database's clock decides what has expired."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Column,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    insert,
    not_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from services.auth.accounts.model import UserState
from services.auth.accounts.store import users
from services.auth.api_keys.model import ApiKey, UsedApiKey
from services.shared.db import ID_MAX, Id, Time
from services.shared.personal_data import list_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.api_keys.model import NewApiKey
    from services.shared.pagination import PageRequest

api_keys = Table(
    "api_keys",
    MetaData(),
    Column("id", Id, primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("key_digest", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("create_time", Time, nullable=False),
    Column("expire_time", Time, nullable=False),
    Column("last_use_time", Time),
    Column("revoke_time", Time),
)

API_KEY = (  # In the order of the model's fields.
    api_keys.c.id,
    api_keys.c.user_id,
    api_keys.c.name,
    api_keys.c.prefix,
    api_keys.c.scopes,
    api_keys.c.create_time,
    api_keys.c.expire_time,
    api_keys.c.last_use_time,
)
NOTED_ONCE_IN = timedelta(minutes=1)
_of_user = api_keys.c.user_id == bindparam("of_user")
ACTIVE = and_(api_keys.c.revoke_time.is_(None), api_keys.c.expire_time > func.now())
INSERT = insert(api_keys).returning(*API_KEY)
COUNT = select(func.count()).select_from(api_keys).where(_of_user, ACTIVE)
LIST = (
    select(*API_KEY)
    .where(_of_user, api_keys.c.revoke_time.is_(None), api_keys.c.id < bindparam("before", type_=Id))
    .order_by(api_keys.c.id.desc())
    .limit(bindparam("count"))
)
FIND_ACTIVE = (
    select(*API_KEY)
    .join_from(api_keys, users, users.c.id == api_keys.c.user_id)
    .where(api_keys.c.key_digest == bindparam("digest"), ACTIVE, users.c.state == UserState.ACTIVE)
)
USE_NOTED = func.coalesce(api_keys.c.last_use_time > func.now() - NOTED_ONCE_IN, False)
FIND_USED = FIND_ACTIVE.with_only_columns(  # In the order of the model's fields.
    api_keys.c.id,
    api_keys.c.scopes,
    api_keys.c.expire_time,
    api_keys.c.user_id,
    users.c.role,
    users.c.epoch,
    users.c.email_verify_time.is_not(None),
    USE_NOTED,
)
UPDATE_LAST_USE = (
    update(api_keys)
    .values(last_use_time=func.now())
    .where(
        api_keys.c.id.in_(
            select(api_keys.c.id)
            .where(api_keys.c.id == bindparam("api_key_id"), not_(USE_NOTED))
            .with_for_update(skip_locked=True)
        )
    )
)
UPDATE_REVOKED = (
    update(api_keys)
    .values(revoke_time=func.coalesce(api_keys.c.revoke_time, func.now()))
    .where(_of_user, api_keys.c.id == bindparam("api_key_id"))
    .returning(api_keys.c.revoke_time == func.now())  # The time of this transaction.
)

EXPORT = (
    select(*(column for column in API_KEY if column.name != "user_id"), api_keys.c.revoke_time)
    .where(_of_user)
    .order_by(api_keys.c.id)
)
DELETE_OF = delete(api_keys).where(_of_user)


class ApiKeyStore:
    """Reads and writes API keys."""

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:
        """Return a person's API keys, without what is secret of them."""
        return {"apiKeys": await list_rows(connection, EXPORT, of_user=user_id)}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Delete a person's API keys. The erasure has revoked their tokens."""
        return (await connection.execute(DELETE_OF, {"of_user": user_id})).rowcount

    async def insert_api_key(
        self,
        connection: AsyncConnection,
        *,
        api_key_id: str,
        user_id: str,
        prefix: str,
        key_digest: bytes,
        new: NewApiKey,
    ) -> ApiKey:
        """Insert a key and return it."""
        values = {
            "id": api_key_id,
            "user_id": user_id,
            "name": new.name,
            "prefix": prefix,
            "key_digest": key_digest,
            "scopes": list(new.scopes),
            "expire_time": new.expire_time,
        }
        return ApiKey(*(await connection.execute(INSERT, values)).one())

    async def count_active_api_keys(self, connection: AsyncConnection, user_id: str) -> int:
        """Return the number of the user's keys that are neither expired nor revoked."""
        count: int = (await connection.execute(COUNT, {"of_user": user_id})).scalar_one()
        return count

    async def list_api_keys(self, connection: AsyncConnection, user_id: str, page: PageRequest) -> Sequence[ApiKey]:
        """Return a page of the user's keys that were not revoked, newest first."""
        before = page.cursor[0] if page.cursor else ID_MAX
        rows = await connection.execute(LIST, {"of_user": user_id, "before": before, "count": page.limit})
        return [ApiKey(*row) for row in rows]

    async def find_active_api_key(self, connection: AsyncConnection, key_digest: bytes) -> ApiKey | None:
        """Return the key with this digest; None if it cannot be used: it is unknown or has ended, or its owner has."""
        row = (await connection.execute(FIND_ACTIVE, {"digest": key_digest})).one_or_none()
        return ApiKey(*row) if row else None

    async def find_used_api_key(self, connection: AsyncConnection, key_digest: bytes) -> UsedApiKey | None:
        """Return a key with its owner, for an exchange; None if it cannot be used."""
        row = (await connection.execute(FIND_USED, {"digest": key_digest})).one_or_none()
        return UsedApiKey(*row) if row else None

    async def update_last_use(self, connection: AsyncConnection, api_key_id: str) -> None:
        """Note that a key is used now, unless another call does so at the same time."""
        await connection.execute(UPDATE_LAST_USE, {"api_key_id": api_key_id})

    async def update_revoked(self, connection: AsyncConnection, *, user_id: str, api_key_id: str) -> bool | None:
        """Revoke a user's key; False if it was revoked before, None if the user has none of this id."""
        values = {"of_user": user_id, "api_key_id": api_key_id}
        revoked: bool | None = (await connection.execute(UPDATE_REVOKED, values)).scalar_one_or_none()
        return revoked
