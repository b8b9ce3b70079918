"""Seals: each second, what was recorded since is closed into a chain of seals.

An event becomes visible when its transaction commits, in whatever order. A seal names its events one by one, so that it
cannot grow: what commits after it is taken by the next one.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from services.shared.audit.chain import NO_DIGEST, event_bytes, seal_hash
from services.shared.audit.model import Seal
from services.shared.errors import DomainError
from services.shared.merkle import MerkleTree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.audit.model import StoredEvent
    from services.shared.audit.store import AuditStore
    from services.shared.db import Database

logger = logging.getLogger(__name__)

SEAL_SECONDS = 1.0
MAX_EVENTS = 250
"""Events of one seal: what is read and hashed at once holds up every call."""


class Sealing:
    """Seals the events of a service. Of its replicas one does at a time; the others do not wait for it."""

    def __init__(self, *, database: Database, store: AuditStore) -> None:
        self._database = database
        self._store = store

    async def run(self) -> None:
        """Seal each second until cancelled."""
        while True:
            try:
                await self.seal()
            except DomainError as error:
                logger.warning("audit events could not be sealed", extra={"reason": error.reason})
            await asyncio.sleep(SEAL_SECONDS)

    async def seal(self) -> int:
        """Seal what is visible; return the number of events. Raises DependencyUnavailable."""
        async with self._database.reading() as connection:
            if not await self._store.is_unsealed(connection):
                return 0
        sealed = 0
        while (count := await self._database.transaction(self._seal_once)) > 0:
            sealed += count
            if count < MAX_EVENTS:
                break
        return sealed

    async def _seal_once(self, connection: AsyncConnection) -> int:
        if not await self._store.lock_seals(connection):
            return 0
        last = await self._store.find_last_seal(connection)
        found = await self._store.list_unsealed(connection, limit=MAX_EVENTS)
        if found:
            seal = next_seal(last, found, create_time=await self._store.find_time(connection))
            await self._store.insert_seal(connection, seal)
            await self._store.update_positions(connection, [stored.event.id for stored in found], seal=seal.number)
        return len(found)


def next_seal(last: Seal | None, events: Sequence[StoredEvent], *, create_time: datetime) -> Seal:
    """Return the seal of events, which are in the order of their ids, after the last seal."""
    seal = Seal(
        number=last.number + 1 if last else 1,
        first_id=events[0].event.id,
        last_id=events[-1].event.id,
        count=len(events),
        root=root_of(events),
        previous=last.hash if last else NO_DIGEST,
        hash=b"",
        create_time=create_time,
    )
    return replace(seal, hash=seal_hash(seal))


def root_of(events: Sequence[StoredEvent]) -> bytes:
    """Return the root of the Merkle tree of events, which are in the order of their ids."""
    tree = MerkleTree()
    for stored in events:
        tree.append(event_bytes(stored.event, stored.create_time))
    return tree.root()
