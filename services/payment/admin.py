"""Verification of the ledger without the running service."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from services.payment.proofs.model import Position
from services.payment.proofs.operations import VerificationOperations
from services.payment.proofs.store import ProofStore
from services.shared.db import Database
from services.shared.pagination import PageTokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.payment.proofs.model import Verified

PAGE = 500
KEY_BYTES = 32


async def verify_ledger(url: str) -> AsyncIterator[Verified]:
    """Verify all of the ledger in a database; give the result of each page. Raises DependencyUnavailable."""
    database = Database(url, pool_size=1)
    pages = PageTokens(os.urandom(KEY_BYTES))
    operations = VerificationOperations(database=database, store=ProofStore(), pages=pages)
    position: Position | None = Position()
    try:
        while position is not None:
            verified, position = await operations.verify(position=position)
            yield verified
    finally:
        await database.close()


async def stored_notes(url: str) -> dict[int, str]:
    """Return the notes of all checkpoints in a database, by number. Raises DependencyUnavailable."""
    database, store, notes = Database(url, pool_size=1), ProofStore(), dict[int, str]()
    try:
        async with database.reading() as connection:
            while found := await store.list_checkpoints(connection, after=max(notes, default=0), limit=PAGE):
                notes |= {checkpoint.number: checkpoint.note for checkpoint in found}
    finally:
        await database.close()
    return notes
