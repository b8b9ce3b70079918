"""The SQL of signing keys."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Interval, LargeBinary, MetaData, Table, Text, bindparam, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from services.auth.signing_keys.model import KeyState, PublicKey, SigningKey
from services.shared.db import Id, Time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.signing_keys.model import NewKey

signing_keys = Table(
    "signing_keys",
    MetaData(),
    Column("id", Id, primary_key=True),
    Column("state", Text, nullable=False),
    Column("x", Text, nullable=False),
    Column("y", Text, nullable=False),
    Column("private_key_sealed", LargeBinary),
    Column("create_time", Time, nullable=False),
    Column("publish_time", Time),
    Column("activate_time", Time),
    Column("retire_time", Time),
    Column("revoke_time", Time),
)

c = signing_keys.c
NOW = func.clock_timestamp()


def _seconds_since(column: Column[Any]) -> Any:
    return func.extract("epoch", NOW - column)


KEY = (
    *(c.id, c.state, c.private_key_sealed),
    *map(_seconds_since, (c.create_time, c.publish_time, c.activate_time, c.retire_time)),
    c.revoke_time.is_not(None),
)
"""In the order of the model's fields."""
LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('signing_keys', 0))")
LIST = select(*KEY).order_by(c.id)
FIND_ACTIVE = select(*KEY).where(c.state == KeyState.ACTIVE)
LIST_PUBLISHED = select(c.id, c.x, c.y).where(c.state != KeyState.RETIRED).order_by(c.id)
ACTIVATE = (
    update(signing_keys).where(c.id == bindparam("key_id")).values(state=KeyState.ACTIVE.value, activate_time=NOW)
)
REPLACE = (
    update(signing_keys)
    .where(c.state == KeyState.ACTIVE)
    .values(state=KeyState.RETIRING.value, private_key_sealed=None)
)
REVOKE = (
    update(signing_keys)
    .where(c.id == bindparam("key_id"), c.revoke_time.is_(None))
    .values(state=KeyState.RETIRED.value, private_key_sealed=None, revoke_time=NOW)
)
RETIRE = (
    update(signing_keys)
    .where(c.state == KeyState.RETIRING, c.retire_time < NOW - bindparam("after", type_=Interval))
    .values(state=KeyState.RETIRED.value)
    .returning(c.id)
)
OBSERVE = (
    update(signing_keys)
    .where(
        or_(
            c.state.in_([KeyState.NEXT, KeyState.ACTIVE]) & c.publish_time.is_(None),
            (c.state == KeyState.RETIRING) & c.retire_time.is_(None),
        )
    )
    .values(
        publish_time=func.coalesce(c.publish_time, NOW),
        retire_time=text("CASE WHEN state = 'RETIRING' THEN coalesce(retire_time, clock_timestamp()) END"),
    )
)


class SigningKeyStore:
    """Reads and writes signing keys."""

    async def lock_keys(self, connection: AsyncConnection) -> None:
        """Keep others from changing keys until the transaction ends. Statements after it see what they changed."""
        await connection.execute(LOCK)

    async def list_keys(self, connection: AsyncConnection) -> Sequence[SigningKey]:
        """Return all keys, the oldest first."""
        return [_key(row) for row in await connection.execute(LIST)]

    async def find_active_key(self, connection: AsyncConnection) -> SigningKey | None:
        """Return the key that signs, or None before there is a first one."""
        row = (await connection.execute(FIND_ACTIVE)).one_or_none()
        return _key(row) if row else None

    async def list_published_keys(self, connection: AsyncConnection) -> Sequence[PublicKey]:
        """Return all keys that may have signed a good token, and the next one; the oldest first."""
        return [PublicKey(*row) for row in await connection.execute(LIST_PUBLISHED)]

    async def insert_key(self, connection: AsyncConnection, key: NewKey) -> None:
        """Insert the next key. It is published by this transaction's commit."""
        public = key.public
        values = {"id": public.id, "x": public.x, "y": public.y, "private_key_sealed": key.private_key_sealed}
        await connection.execute(insert(signing_keys).values(state=KeyState.NEXT.value, **values))

    async def update_active_key(self, connection: AsyncConnection, key_id: str) -> None:
        """Make this key the one that signs, in the place of the active one, if there is one."""
        await connection.execute(REPLACE)
        await connection.execute(ACTIVATE, {"key_id": key_id})

    async def update_revoked_key(self, connection: AsyncConnection, key_id: str) -> bool:
        """Retire a key at once, for good; False if it has been."""
        return (await connection.execute(REVOKE, {"key_id": key_id})).rowcount > 0

    async def update_observed_keys(self, connection: AsyncConnection) -> None:
        """Note for keys that were published or replaced by earlier, committed transactions that they are.

        Times noted by the transaction that changes the key would lie before its commit, by an unknown time.
        """
        await connection.execute(OBSERVE)

    async def update_retired_keys(self, connection: AsyncConnection, after_seconds: float) -> Sequence[str]:
        """Retire keys that were replaced so long ago, and return their ids."""
        rows = await connection.execute(RETIRE, {"after": timedelta(seconds=after_seconds)})
        return [row.id for row in rows]


def _key(row: Row[*tuple[Any, ...]]) -> SigningKey:
    key_id, state, sealed, age, published, signing, retiring, revoked = row
    return SigningKey(
        key_id,
        KeyState(state),
        sealed,
        float(age),
        _seconds(published),
        _seconds(signing),
        _seconds(retiring),
        revoked,
    )


def _seconds(age: Decimal | None) -> float | None:
    return None if age is None else float(age)
