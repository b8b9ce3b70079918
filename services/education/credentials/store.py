"""The SQL of the keys of credentials and of status lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    func,
    insert,
    select,
    text,
    update,
)

from services.education.certificates.store import certificates
from services.education.credentials.model import CredentialKey
from services.shared.db import Id, Time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

TABLES = MetaData()
credential_keys = Table(
    "credential_keys",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("n", Text, nullable=False),
    Column("e", Text, nullable=False),
    Column("private_key_sealed", LargeBinary, nullable=False),
    Column("create_time", Time, nullable=False),
)
status_lists = Table(
    "status_lists",
    TABLES,
    Column("number", BigInteger, primary_key=True),
    Column("version", BigInteger, nullable=False),
)

k, c = credential_keys.c, certificates.c
LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('credential_keys', 0))")
LIST_KEYS = select(credential_keys).order_by(k.create_time, k.id)
UPDATE_KEY = update(credential_keys).where(k.id == bindparam("key_id")).values(private_key_sealed=bindparam("sealed"))
FIND_LAST = select(func.coalesce(func.max(c.status_index), 0))
FIND_VERSION = select(status_lists.c.version).where(status_lists.c.number == bindparam("number"))
LIST_REVOKED = select(c.status_index).where(
    c.revoke_time.is_not(None), c.status_index.between(bindparam("first"), bindparam("last"))
)


class CredentialStore:
    """Reads and writes the keys of credentials, and reads what is revoked."""

    async def lock_keys(self, connection: AsyncConnection) -> None:
        """Keep others from making a key until the transaction ends."""
        await connection.execute(LOCK)

    async def list_keys(self, connection: AsyncConnection) -> Sequence[CredentialKey]:
        """Return all keys, oldest first."""
        return [_key(row) for row in await connection.execute(LIST_KEYS)]

    async def insert_key(self, connection: AsyncConnection, key: CredentialKey) -> None:
        """Insert the key that signs from now on."""
        values = {name: getattr(key, name) for name in credential_keys.c.keys()}  # noqa: SIM118 - not a dict
        await connection.execute(insert(credential_keys), values)

    async def update_private_key(self, connection: AsyncConnection, key_id: str, sealed: bytes) -> None:
        """Replace what a key's private key is encrypted as."""
        await connection.execute(UPDATE_KEY, {"key_id": key_id, "sealed": sealed})

    async def find_last_index(self, connection: AsyncConnection) -> int:
        """Return the highest status index of a certificate; 0 without one: the first list is always there."""
        index: int = (await connection.execute(FIND_LAST)).scalar_one()
        return index

    async def find_list_version(self, connection: AsyncConnection, number: int) -> int:
        """Return the version of a status list, which grows with every revocation in it."""
        return (await connection.execute(FIND_VERSION, {"number": number})).scalar_one_or_none() or 0

    async def list_revoked(self, connection: AsyncConnection, *, first: int, last: int) -> Sequence[int]:
        """Return the status indexes from the first to the last whose certificates are revoked."""
        return list((await connection.execute(LIST_REVOKED, {"first": first, "last": last})).scalars())


def _key(row: Any) -> CredentialKey:
    return CredentialKey(
        id=row.id, n=row.n, e=row.e, private_key_sealed=row.private_key_sealed, create_time=row.create_time
    )
