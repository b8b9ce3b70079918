"""Export of the caller's data."""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING

import orjson

from services.shared.places import Places

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from services.auth.accounts.operations import AccountOperations
    from services.auth.ports import PersonalDataService
    from services.shared.personal_data import PersonOperations
    from services.shared.principal import Principal

MAX_EXPORTS, MAX_EXPORTS_PER_USER = 4, 1
"""Maximum number of concurrent exports of a process, and of one user: each reads from all services."""


class ExportOperations:
    """Gathers what all services keep of a person. `persons` exports Auth's own data."""

    def __init__(
        self, *, accounts: AccountOperations, persons: PersonOperations, services: Sequence[PersonalDataService]
    ) -> None:
        self._accounts = accounts
        self._persons = persons
        self._services = services
        self._places = Places(max_total=MAX_EXPORTS, max_per_user=MAX_EXPORTS_PER_USER)

    async def export_my_data(self, *, principal: Principal) -> AsyncGenerator[bytes]:
        """Yield the caller's data as the parts of one JSON document, once every service has begun to answer.

        Nothing is kept of what was passed on. Raises UserNotFound, TokenInvalid after a logout, TooManyStreams,
        Overloaded, DependencyUnavailable; the last within the document, too, which then stays incomplete.
        """
        user_id = principal.user_id
        async with AsyncExitStack() as stack:
            stack.enter_context(self._places.take(user_id))
            await self._accounts.get_profile(principal=principal)
            begun: list[tuple[bytes, AsyncGenerator[bytes]]] = []
            for service in self._services:
                parts = await stack.enter_async_context(aclosing(service.export_person(user_id=user_id)))
                begun.append((b"," + orjson.dumps(service.name) + b":" + await anext(parts), parts))
            own = await stack.enter_async_context(aclosing(self._persons.export_person(user_id=user_id)))
            for first, parts in ((b'{"userId":' + orjson.dumps(user_id) + b',"auth":', own), *begun):
                yield first
                async for part in parts:
                    yield part
            yield b"}"
