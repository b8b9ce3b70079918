"""The SQL of signing keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from services.auth.tables import signing_keys
from services.auth.tokens.model import KeyState, PublicKey, SigningKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

ACTIVE = select(signing_keys).where(signing_keys.c.state == KeyState.ACTIVE)
PUBLISHED = (
    select(signing_keys.c.id, signing_keys.c.x, signing_keys.c.y)
    .where(signing_keys.c.state != KeyState.RETIRED)
    .order_by(signing_keys.c.id)
)
ADD_ACTIVE = insert(signing_keys).values(state=KeyState.ACTIVE).on_conflict_do_nothing()


class SigningKeyStore:
    """Reads and adds signing keys."""

    async def active(self, connection: AsyncConnection) -> SigningKey | None:
        """Return the key that signs, or None before there is a first one."""
        row = (await connection.execute(ACTIVE)).one_or_none()
        return SigningKey(PublicKey(row.id, row.x, row.y), row.private_key_sealed) if row else None

    async def published(self, connection: AsyncConnection) -> Sequence[PublicKey]:
        """Return all keys that may have signed a good token, and the next one; the oldest first."""
        return [PublicKey(*row) for row in await connection.execute(PUBLISHED)]

    async def add_active(self, connection: AsyncConnection, key: SigningKey) -> None:
        """Make `key` the one that signs, unless there is one; waits for whoever is adding one now."""
        public = key.public
        values = {"id": public.id, "x": public.x, "y": public.y, "private_key_sealed": key.private_key_sealed}
        await connection.execute(ADD_ACTIVE, values)
