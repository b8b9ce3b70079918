"""Ledger verification."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.payment.ledger.model import CurrencyTotal
    from services.payment.ledger.store import LedgerStore
    from services.shared.db import Database


class LedgerOperations:
    """Ledger verification for administrators."""

    def __init__(self, *, database: Database, store: LedgerStore) -> None:
        self._database = database
        self._store = store

    async def trial_balance(self) -> Sequence[CurrencyTotal]:
        """Return the sums of all entries, by currency, as of one moment."""
        async with self._database.reading() as connection:
            return await self._store.list_totals(connection)
