"""Denied calls of signed-in users, counted per user, RPC and minute, and recorded when the minute is over."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from services.shared.audit.model import Action, Outcome
from services.shared.audit.recording import new_event
from services.shared.audit.store import insert_events
from services.shared.errors import AccessDenied, DomainError

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.shared.db import Database
    from services.shared.principal import Principal

logger = logging.getLogger(__name__)

MINUTE_SECONDS = 60.0
FLUSH_SECONDS = 1.0
MAX_RECORDED = 250
"""Events of one transaction: making them holds up every call, and is for nothing while the database is away."""
MAX_COUNTED = 10_000
"""Users and RPCs that a process counts at once: those beyond are logged by their number alone."""


class Denials:
    """Counts denied calls in memory, so that who is denied cannot make the database write for each call."""

    def __init__(self, *, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._counted: dict[tuple[str, str], tuple[float, Principal, int]] = {}
        """For each user and RPC, the end of the minute that its first denial began, who it was, and how often."""
        self._uncounted = 0

    def count(self, principal: Principal, path: str) -> None:
        """Count a denied call of a signed-in user."""
        key = (principal.user_id, path)
        found = self._counted.get(key)
        if found is not None:
            end, first, number = found
            self._counted[key] = (end, first, number + 1)
        elif len(self._counted) < MAX_COUNTED:
            self._counted[key] = (self._clock() + MINUTE_SECONDS, principal, 1)
        else:
            self._uncounted += 1

    async def run(self) -> None:
        """Record each second the minutes that are over; when cancelled, all."""
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                await self._try()
        finally:
            await self._try(everything=True)

    async def flush(self, *, everything: bool = False) -> None:
        """Record the minutes that are over, or all. Raises DependencyUnavailable, and keeps them then."""
        now = self._clock()
        due = [key for key, counted in self._counted.items() if everything or counted[0] <= now]
        for first in range(0, len(due), MAX_RECORDED):
            await self._record({key: self._counted[key] for key in due[first : first + MAX_RECORDED]})

    async def _record(self, due: dict[tuple[str, str], tuple[float, Principal, int]]) -> None:
        recorded = [
            new_event(
                action=Action.ACCESS_CALL,
                principal=principal,
                target=path.removeprefix("/"),
                outcome=Outcome.DENIED,
                reason=AccessDenied.reason,
                count=number,
            )
            for (_, path), (_, principal, number) in due.items()
        ]
        for key in due:
            del self._counted[key]
        try:
            await self._database.transaction(lambda connection: insert_events(connection, recorded))
        except BaseException:
            self._restore(due)
            raise

    def _restore(self, due: dict[tuple[str, str], tuple[float, Principal, int]]) -> None:
        for key, (end, principal, number) in due.items():
            _, _, meanwhile = self._counted.get(key, (end, principal, 0))
            self._counted[key] = (end, principal, number + meanwhile)

    async def _try(self, *, everything: bool = False) -> None:
        try:
            await self.flush(everything=everything)
        except DomainError as error:
            logger.warning("denied calls could not be recorded", extra={"reason": error.reason})
        if self._uncounted:
            logger.warning("denied calls were not counted", extra={"count": self._uncounted})
            self._uncounted = 0
