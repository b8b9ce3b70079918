"""What a resource exports of a person, with all pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.shared.keyset import Pages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.personal_data import PersonalData


async def exported_by(resource: PersonalData, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:
    """Return the collections of a resource."""
    collections = await resource.export_person(connection, user_id=user_id)
    return {name: await _whole(connection, value) for name, value in collections.items()}


async def _whole(connection: AsyncConnection, value: Any) -> Any:
    if not isinstance(value, Pages):
        return value
    items: list[Any] = []
    after: tuple[Any, ...] | None = value.keyset.start
    while after:
        page, after = await value.read(connection, after)
        items += page
    return items
