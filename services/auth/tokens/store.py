"""The SQL of signing keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Column, LargeBinary, MetaData, Table, Text, select
from sqlalchemy.dialects.postgresql import insert

from services.auth.tokens.model import KeyState, PublicKey, SigningKey
from services.shared.db import Id, Time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

signing_keys = Table(
    "signing_keys",
    MetaData(),
    Column("id", Id, primary_key=True),
    Column("state", Text, nullable=False),
    Column("x", Text, nullable=False),
    Column("y", Text, nullable=False),
    Column("private_key_sealed", LargeBinary, nullable=False),
    Column("create_time", Time, nullable=False),
)

FIND_ACTIVE = select(signing_keys).where(signing_keys.c.state == KeyState.ACTIVE)
LIST_PUBLISHED = (
    select(signing_keys.c.id, signing_keys.c.x, signing_keys.c.y)
    .where(signing_keys.c.state != KeyState.RETIRED)
    .order_by(signing_keys.c.id)
)
INSERT_ACTIVE = insert(signing_keys).values(state=KeyState.ACTIVE).on_conflict_do_nothing()


class SigningKeyStore:
    """Reads and writes signing keys."""

    async def find_active_key(self, connection: AsyncConnection) -> SigningKey | None:
        """Return the key that signs, or None before there is a first one."""
        row = (await connection.execute(FIND_ACTIVE)).one_or_none()
        return SigningKey(PublicKey(row.id, row.x, row.y), row.private_key_sealed) if row else None

    async def list_published_keys(self, connection: AsyncConnection) -> Sequence[PublicKey]:
        """Return all keys that may have signed a good token, and the next one; the oldest first."""
        return [PublicKey(*row) for row in await connection.execute(LIST_PUBLISHED)]

    async def insert_active_key(self, connection: AsyncConnection, key: SigningKey) -> None:
        """Make `key` the one that signs, unless there is one; waits for whoever is adding one now."""
        public = key.public
        values = {"id": public.id, "x": public.x, "y": public.y, "private_key_sealed": key.private_key_sealed}
        await connection.execute(INSERT_ACTIVE, values)
