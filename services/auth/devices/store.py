"""The SQL of known devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, LargeBinary, MetaData, Table, Text, bindparam, delete, func, insert, select, text, update

from services.auth.devices.model import MAX_DEVICES, Device
from services.shared.db import ID_MAX, Id, Time
from services.shared.personal_data import list_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.pagination import PageRequest

devices = Table(
    "devices",
    MetaData(),
    Column("id", Id, primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("token_digest", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("last_use_time", Time, nullable=False),
)

DEVICE = (  # In the order of the model's fields.
    devices.c.id,
    devices.c.user_id,
    devices.c.name,
    devices.c.create_time,
    devices.c.last_use_time,
)
_of_user = devices.c.user_id == bindparam("of_user")
FIND = select(*DEVICE).where(devices.c.token_digest == bindparam("digest"))
LIST = (
    select(*DEVICE)
    .where(_of_user, devices.c.id < bindparam("before", type_=Id))
    .order_by(devices.c.id.desc())
    .limit(bindparam("count"))
)
LIST_IDS = select(devices.c.id).where(_of_user)
INSERT = insert(devices)
UPDATE_LAST_USE = (
    update(devices)
    .values(last_use_time=func.now(), name=bindparam("new_name"))
    .where(devices.c.id == bindparam("device_id"))
    .returning(devices.c.id)
)
LOCK_USER = text("SELECT pg_advisory_xact_lock(hashtextextended('devices:' || :of_user, 0))")
SURPLUS = select(devices.c.id).where(_of_user).order_by(devices.c.last_use_time.desc()).offset(MAX_DEVICES)
DELETE_SURPLUS = delete(devices).where(devices.c.id.in_(SURPLUS))
DELETE = delete(devices).where(_of_user, devices.c.id == bindparam("device_id")).returning(devices.c.id)
DELETE_ALL = delete(devices).where(_of_user)


EXPORT = (
    select(devices.c.id, devices.c.name, devices.c.create_time, devices.c.last_use_time)
    .where(_of_user)
    .order_by(devices.c.id)
)


class DeviceStore:
    """Reads and writes known devices."""

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:
        """Return a person's known devices."""
        return {"devices": await list_rows(connection, EXPORT, of_user=user_id)}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Delete a person's known devices."""
        return (await connection.execute(DELETE_ALL, {"of_user": user_id})).rowcount

    async def find_device(self, connection: AsyncConnection, token_digest: bytes) -> Device | None:
        """Return the device of a token."""
        row = (await connection.execute(FIND, {"digest": token_digest})).one_or_none()
        return Device(*row) if row else None

    async def list_devices(self, connection: AsyncConnection, user_id: str, page: PageRequest) -> Sequence[Device]:
        """Return a page of the user's devices, newest first."""
        before = page.cursor[0] if page.cursor else ID_MAX
        rows = await connection.execute(LIST, {"of_user": user_id, "before": before, "count": page.limit})
        return [Device(*row) for row in rows]

    async def list_device_ids(self, connection: AsyncConnection, user_id: str) -> Sequence[str]:
        """Return the ids of all devices of a user, who has MAX_DEVICES at most."""
        return (await connection.execute(LIST_IDS, {"of_user": user_id})).scalars().all()

    async def insert_device(
        self, connection: AsyncConnection, *, device_id: str, user_id: str, token_digest: bytes, name: str
    ) -> None:
        """Insert a device; beyond the maximum, the one that was not used for longest is deleted.

        Sign-ins of one user at once count one after another.
        """
        values = {"id": device_id, "user_id": user_id, "token_digest": token_digest, "name": name}
        await connection.execute(LOCK_USER, {"of_user": user_id})
        await connection.execute(INSERT, values)
        await connection.execute(DELETE_SURPLUS, {"of_user": user_id})

    async def update_last_use(self, connection: AsyncConnection, device_id: str, *, name: str) -> bool:
        """Note a sign-in from a device; False if it is not known any more."""
        values = {"device_id": device_id, "new_name": name}
        return (await connection.execute(UPDATE_LAST_USE, values)).one_or_none() is not None

    async def delete_device(self, connection: AsyncConnection, *, user_id: str, device_id: str) -> bool:
        """Delete a user's device; False if the user has none of this id."""
        values = {"of_user": user_id, "device_id": device_id}
        return (await connection.execute(DELETE, values)).one_or_none() is not None

    async def delete_devices(self, connection: AsyncConnection, user_id: str) -> None:
        """Delete all devices of a user."""
        await connection.execute(DELETE_ALL, {"of_user": user_id})
