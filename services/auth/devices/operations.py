"""Known devices and their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.auth.errors import DeviceNotFound
from services.shared.audit.model import Action
from services.shared.audit.recording import record
from services.shared.ids import new_id
from services.shared.opaque_tokens import new_token, token_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.devices.model import Device
    from services.auth.devices.store import DeviceStore
    from services.shared.db import Database
    from services.shared.pagination import Page, PageTokens
    from services.shared.principal import Principal


class DeviceOperations:
    """Devices become known by a full sign-in. Their tokens replace neither a password nor a code."""

    def __init__(self, *, database: Database, store: DeviceStore, pages: PageTokens) -> None:
        self._database = database
        self._store = store
        self._pages = pages

    async def list_devices(self, *, principal: Principal, page_size: int, page_token: str) -> Page[Device]:
        """Return a page of the caller's devices, newest first. Raises PageTokenInvalid."""
        page = self._pages.request(
            page_size=page_size, page_token=page_token, bound_to={"method": "ListDevices", "caller": principal.id}
        )
        async with self._database.reading() as connection:
            found = await self._store.list_devices(connection, principal.user_id, page)
        return page.page(found, lambda device: [device.id])

    async def revoke_device(self, *, principal: Principal, device_id: str) -> None:
        """Forget a device of the caller's: its token ends, its sessions go on. Raises DeviceNotFound."""

        async def work(connection: AsyncConnection) -> None:
            if not await self._store.delete_device(connection, user_id=principal.user_id, device_id=device_id):
                raise DeviceNotFound
            await record(connection, action=Action.DEVICE_REVOKE, target=f"devices/{device_id}")

        await self._database.transaction(work)

    async def find(self, connection: AsyncConnection, *, device_token: str) -> Device | None:
        """Return the device of a token, whoever's it is; None without a valid one."""
        return await self._store.find_device(connection, token_digest(device_token)) if device_token else None

    async def remember(self, connection: AsyncConnection, *, user_id: str, known_id: str | None, name: str) -> str:
        """Note a full sign-in from the known device of this id, or return a new device's token if it is not known."""
        if known_id and await self._store.update_last_use(connection, known_id, name=name):
            return ""
        token = new_token()
        await self._store.insert_device(
            connection, device_id=new_id(), user_id=user_id, token_digest=token_digest(token), name=name
        )
        return token

    async def list_ids(self, connection: AsyncConnection, *, user_id: str) -> Sequence[str]:
        """Return the ids of all devices of a user."""
        return await self._store.list_device_ids(connection, user_id)

    async def forget_all(self, connection: AsyncConnection, *, user_id: str) -> None:
        """End all device tokens of a user, as a new password does."""
        await self._store.delete_devices(connection, user_id)
