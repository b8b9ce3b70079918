"""The SQL of pending registrations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Column,
    Interval,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from services.auth.accounts.model import EmailAddress, NewUser, PersonName, Role
from services.auth.accounts.store import users
from services.auth.registrations.model import PendingRegistration
from services.shared.db import Id, Time
from services.shared.ids import new_id
from services.shared.personal_data import list_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

pending_registrations = Table(
    "pending_registrations",
    MetaData(),
    Column("id", Id, primary_key=True),
    Column("digest", LargeBinary),
    Column("email", Text, nullable=False),
    Column("email_folded", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("expire_time", Time, nullable=False),
)

PENDING = (
    pending_registrations.c.id,
    pending_registrations.c.email,
    pending_registrations.c.name,
    pending_registrations.c.password_hash,
)
EXPIRY = func.clock_timestamp() + bindparam("lifetime", type_=Interval)
INSERT = insert(pending_registrations).values(expire_time=EXPIRY)
LOCK_UNSENT = (
    select(*PENDING)
    .where(pending_registrations.c.id == bindparam("registration_id"), pending_registrations.c.digest.is_(None))
    .with_for_update()
)
UPDATE_DIGEST = (
    update(pending_registrations)
    .values(digest=bindparam("token_digest"), expire_time=EXPIRY)
    .where(pending_registrations.c.id == bindparam("registration_id"))
)
OF_LINK = (
    select(pending_registrations.c.email_folded)
    .where(pending_registrations.c.digest == bindparam("token_digest"))
    .scalar_subquery()
)
# In one order: each of two links used at once deletes what the other holds.
LOCK_ALL = (
    select(pending_registrations.c.id)
    .where(pending_registrations.c.email_folded == OF_LINK)
    .order_by(pending_registrations.c.id)
    .with_for_update()
)
CLAIM = (
    delete(pending_registrations)
    .where(
        pending_registrations.c.digest == bindparam("token_digest"), pending_registrations.c.expire_time > func.now()
    )
    .returning(*PENDING)
)
DELETE = delete(pending_registrations).where(pending_registrations.c.id == bindparam("registration_id"))
DELETE_ALL_OF = delete(pending_registrations).where(pending_registrations.c.email_folded == bindparam("folded"))


_of_person = pending_registrations.c.email_folded == (
    select(users.c.email_folded).where(users.c.id == bindparam("user_id")).scalar_subquery()
)
EXPORT = select(pending_registrations.c.email, pending_registrations.c.name, pending_registrations.c.expire_time).where(
    _of_person
)
DELETE_OF_PERSON = delete(pending_registrations).where(_of_person)


class RegistrationStore:
    """Reads and writes pending registrations."""

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:
        """Return the attempts to register a person's address."""
        return {"pendingRegistrations": await list_rows(connection, EXPORT, user_id=user_id)}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Delete the attempts to register a person's address."""
        return (await connection.execute(DELETE_OF_PERSON, {"user_id": user_id})).rowcount

    async def insert_registration(
        self, connection: AsyncConnection, registration: PendingRegistration, *, lifetime: timedelta
    ) -> None:
        """Insert a registration, without a link."""
        new = registration.new
        values = {
            "id": registration.id,
            "email": new.email.text,
            "email_folded": new.email.folded,
            "name": new.name.text,
            "password_hash": new.password_hash,
        }
        await connection.execute(INSERT, {**values, "lifetime": lifetime})

    async def lock_registration(self, connection: AsyncConnection, registration_id: str) -> PendingRegistration | None:
        """Return a registration whose link was not sent."""
        row = (await connection.execute(LOCK_UNSENT, {"registration_id": registration_id})).one_or_none()
        return _registration(row) if row else None

    async def update_digest(
        self, connection: AsyncConnection, registration_id: str, *, digest: bytes, lifetime: timedelta
    ) -> None:
        """Give a registration its link, which is valid for `lifetime`."""
        values = {"registration_id": registration_id, "token_digest": digest, "lifetime": lifetime}
        await connection.execute(UPDATE_DIGEST, values)

    async def claim_registration(self, connection: AsyncConnection, digest: bytes) -> PendingRegistration | None:
        """Delete the registration of this link and return it; one caller gets it. All of its address are locked."""
        await connection.execute(LOCK_ALL, {"token_digest": digest})
        row = (await connection.execute(CLAIM, {"token_digest": digest})).one_or_none()
        return _registration(row) if row else None

    async def delete_registration(self, connection: AsyncConnection, registration_id: str) -> None:
        """Delete a registration."""
        await connection.execute(DELETE, {"registration_id": registration_id})

    async def delete_registrations_of(self, connection: AsyncConnection, email: EmailAddress) -> None:
        """Delete all registrations of an address."""
        await connection.execute(DELETE_ALL_OF, {"folded": email.folded})


def _registration(row: Row[*tuple[Any, ...]]) -> PendingRegistration:
    registration_id, email, name, password_hash = row
    new = NewUser(new_id(), EmailAddress(email), password_hash, Role.STUDENT, PersonName(name), email_verified=True)
    return PendingRegistration(registration_id, new)
