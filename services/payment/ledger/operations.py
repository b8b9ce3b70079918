"""Ledger verification."""

from __future__ import annotations

import asyncio
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
        self._one_at_a_time = asyncio.Semaphore()

    async def trial_balance(self) -> Sequence[CurrencyTotal]:
        """Return the sums of the debits and credits of all accounts, by currency, as of one moment.

        It reads every account: a process does so on one connection at a time, and the others stay free for calls.
        """
        async with self._one_at_a_time, self._database.reading() as connection:
            return await self._store.list_totals(connection)
