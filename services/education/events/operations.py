"""Taking what other services tell, each event once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.enrollments.store import EnrollmentStore
    from services.education.events.model import Event
    from services.education.events.store import EventStore
    from services.shared.db import Database


class EventOperations:
    """What changes here when something happened elsewhere."""

    def __init__(self, database: Database, store: EventStore, enrollments: EnrollmentStore) -> None:
        self._database = database
        self._store = store
        self._enrollments = enrollments

    async def receive(self, events: Sequence[Event]) -> None:
        """Take the events, all or none; those that were taken before change nothing."""

        async def work(connection: AsyncConnection) -> None:
            for event in events:
                if await self._store.take(connection, event.id) and event.refunded_payment_id:
                    await self._refunded(connection, event.refunded_payment_id)

        await self._database.transaction(work)

    async def _refunded(self, connection: AsyncConnection, payment_id: str) -> None:
        """Cancel the enrolment that the payment bought; its place is free again."""
        await self._store.lock_payment(connection, payment_id)
        await self._store.note_refund(connection, payment_id)
        bought = await self._enrollments.lock_of_payment(connection, payment_id)
        if bought is not None:
            await self._enrollments.save(connection, bought, bought.cancelled())
