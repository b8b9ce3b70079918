"""The SQL of erasures. Their rows hold opaque IDs only, and outlive the account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Column, Integer, Interval, MetaData, Table, Text, bindparam, func, insert, select, update

from services.auth.erasures.model import EraseAccount, EraseRemainder, Erasure, ServiceErasure
from services.shared.db import Id, Time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

TABLES = MetaData()

erasures = Table(
    "erasures",
    TABLES,
    Column("user_id", Id, primary_key=True),
    Column("requester_id", Id, nullable=False),
    Column("request_time", Time, nullable=False),
    Column("complete_time", Time),
    Column("remainder_time", Time),
)
service_erasures = Table(
    "service_erasures",
    TABLES,
    Column("user_id", Id, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("confirm_time", Time),
    Column("pending", Text, nullable=False),
)

FIND = select(erasures).where(erasures.c.user_id == bindparam("user_id"))
LIST_SERVICES = (
    select(service_erasures.c.service, service_erasures.c.confirm_time, service_erasures.c.pending)
    .where(service_erasures.c.user_id == bindparam("user_id"))
    .order_by(service_erasures.c.position)
)
LIST_INCOMPLETE = (
    select(erasures.c.user_id)
    .where(
        erasures.c.complete_time.is_(None),
        erasures.c.request_time < func.now() - bindparam("age", type_=Interval),
    )
    .order_by(erasures.c.request_time)
    .limit(bindparam("count"))
)
LIST_REMAINING = (
    select(erasures.c.user_id)
    .where(
        erasures.c.remainder_time.is_(None),
        erasures.c.complete_time < func.now() - bindparam("age", type_=Interval),
    )
    .order_by(erasures.c.complete_time)
    .limit(bindparam("count"))
)
_of_service = (service_erasures.c.user_id == bindparam("of_user")) & (
    service_erasures.c.service == bindparam("of_service")
)
UPDATE_PENDING = (
    update(service_erasures)
    .values(pending=bindparam("waits_for"))
    .where(_of_service, service_erasures.c.confirm_time.is_(None))
)
UPDATE_CONFIRMED = (
    update(service_erasures)
    .values(pending="", confirm_time=func.coalesce(service_erasures.c.confirm_time, func.now()))
    .where(_of_service)
)
UPDATE_COMPLETE = (
    update(erasures)
    .values(complete_time=func.now())
    .where(erasures.c.user_id == bindparam("of_user"), erasures.c.complete_time.is_(None))
)
UPDATE_REMAINDER = update(erasures).values(remainder_time=func.now()).where(erasures.c.user_id == bindparam("of_user"))


class ErasureStore:
    """Reads and writes erasures."""

    async def insert_erasure(
        self, connection: AsyncConnection, user_id: str, *, requester_id: str, services: Sequence[str]
    ) -> None:
        """Insert the erasure of a user by these services, asked in this order."""
        values = {"user_id": user_id, "requester_id": requester_id}
        await connection.execute(insert(erasures).values(request_time=func.now()), values)
        rows = [
            {"user_id": user_id, "service": service, "position": position, "pending": ""}
            for position, service in enumerate(services)
        ]
        await connection.execute(insert(service_erasures), rows)

    async def find_erasure(self, connection: AsyncConnection, user_id: str) -> Erasure | None:
        """Return the erasure of a user."""
        row = (await connection.execute(FIND, {"user_id": user_id})).one_or_none()
        if row is None:
            return None
        services = await connection.execute(LIST_SERVICES, {"user_id": user_id})
        return Erasure(
            user_id=row.user_id,
            requester_id=row.requester_id,
            request_time=row.request_time,
            complete_time=row.complete_time,
            services=tuple(ServiceErasure(*service) for service in services),
        )

    async def list_incomplete(
        self, connection: AsyncConnection, *, age: timedelta, limit: int
    ) -> Sequence[EraseAccount]:
        """Return the erasures that were requested longer ago than `age` and are not complete, oldest first."""
        rows = await connection.execute(LIST_INCOMPLETE, {"age": age, "count": limit})
        return [EraseAccount(row.user_id) for row in rows]

    async def list_remaining(
        self, connection: AsyncConnection, *, age: timedelta, limit: int
    ) -> Sequence[EraseRemainder]:
        """Return the erasures that were complete longer ago than `age` and of which a remainder may be left."""
        rows = await connection.execute(LIST_REMAINING, {"age": age, "count": limit})
        return [EraseRemainder(row.user_id) for row in rows]

    async def update_service(self, connection: AsyncConnection, user_id: str, service: str, *, pending: str) -> None:
        """Note what a service waits for, or if that is empty that it has erased everything."""
        values = {"of_user": user_id, "of_service": service}
        if pending:
            await connection.execute(UPDATE_PENDING, values | {"waits_for": pending})
        else:
            await connection.execute(UPDATE_CONFIRMED, values)

    async def update_complete(self, connection: AsyncConnection, user_id: str) -> None:
        """Note that the account is deleted."""
        await connection.execute(UPDATE_COMPLETE, {"of_user": user_id})

    async def update_remainder(self, connection: AsyncConnection, user_id: str) -> None:
        """Note that nothing is left."""
        await connection.execute(UPDATE_REMAINDER, {"of_user": user_id})
