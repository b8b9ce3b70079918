"""Export of the caller's data."""

from __future__ import annotations

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
"""Maximum number of concurrent exports of a process, and of one user: each is in memory as a whole."""


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
        """Yield the caller's data as the parts of one JSON document, once all of it is there.

        Raises UserNotFound, TokenInvalid after a logout, TooManyStreams, Overloaded, DependencyUnavailable.
        """
        user_id = principal.user_id
        with self._places.take(user_id):
            await self._accounts.get_profile(principal=principal)
            parts = [b'{"userId":' + orjson.dumps(user_id) + b',"auth":']
            parts += [part async for part in self._persons.export_person(user_id=user_id)]
            for service in self._services:
                parts.append(b"," + orjson.dumps(service.name) + b":")
                parts += [part async for part in service.export_person(user_id=user_id)]
            for part in (*parts, b"}"):
                yield part
