"""Transaction operations: lists, watches and statements."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from services.shared.errors import ValidationFailed
from services.shared.money import check_currency
from services.shared.pagination import Page
from services.shared.places import Places
from services.shared.watching import MAX_READ_ITEMS, Watchers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from datetime import datetime

    from services.payment.transactions.model import Movement, MovementFilter, Statement
    from services.payment.transactions.store import TransactionStore
    from services.shared.db import Database
    from services.shared.pagination import PageTokens
    from services.shared.principal import Principal
    from services.shared.watching import Heartbeat

EXPORTED_MOVEMENTS = 500
"""Movements of a statement that are in memory at once."""
MAX_EXPORTS, MAX_EXPORTS_PER_USER = 8, 1
"""Maximum number of concurrent exports of a process, and of one user."""


class TransactionOperations:
    """Reads the transactions of wallets."""

    def __init__(
        self,
        *,
        database: Database,
        store: TransactionStore,
        pages: PageTokens,
        max_watchers: int,
        max_watchers_per_user: int,
    ) -> None:
        self._database = database
        self._store = store
        self._pages = pages
        self._exports = Places(max_total=MAX_EXPORTS, max_per_user=MAX_EXPORTS_PER_USER)
        self.watchers = Watchers(self._list_new, max_watchers=max_watchers, max_watchers_per_user=max_watchers_per_user)

    async def list_transactions(
        self, *, principal: Principal, matching: MovementFilter, page_size: int, page_token: str
    ) -> Page[Movement]:
        """Return a page of the caller's movements, newest first. Raises CurrencyUnknown, PageTokenInvalid.

        The wallet's own sequence is the order: what is booked meanwhile neither repeats nor hides anything. A page of
        filtered movements may be short, or empty, and not the last: each looks at a bounded stretch of the history.
        """
        check_currency(matching.currency)
        bound_to = {"method": "ListTransactions", "user": principal.user_id, **matching.canonical}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        async with self._database.reading() as connection:
            if matching.everything:
                found = await self._store.list_movements(connection, request, principal.user_id, matching.currency)
                return request.page(found, lambda movement: [movement.sequence])
            scan = await self._store.list_filtered_movements(connection, request, principal.user_id, matching)
        return Page(scan.movements, "" if scan.next_sequence is None else request.token([scan.next_sequence]))

    async def watch_transactions(
        self, *, principal: Principal, currency: str, after_sequence: int | None
    ) -> AsyncGenerator[Movement | Heartbeat]:
        """Yield the caller's movements after a sequence, oldest first, and heartbeats; None begins with the next one.

        Raises CurrencyUnknown, ValidationFailed, TooManyStreams, Overloaded; StreamInterrupted at the end.
        """
        check_currency(currency)
        async with self._database.reading() as connection:
            position = await self._store.find_position(connection, principal.user_id, currency)
        after = position.sequence if after_sequence is None else after_sequence
        if after > position.sequence:
            raise ValidationFailed.field("afterSequence", "must not exceed the sequence of the newest transaction")
        key = (principal.user_id, currency)
        watch = self.watchers.watch(key, after=after, head=position.sequence, user_id=principal.user_id)
        async with aclosing(watch):
            async for news in watch:
                yield news

    async def export_statement(
        self, *, principal: Principal, currency: str, start_time: datetime | None, end_time: datetime | None
    ) -> AsyncGenerator[Statement | Sequence[Movement]]:
        """Yield a statement's bounds, and then its movements in groups, oldest first.

        Raises CurrencyUnknown, TooManyStreams, Overloaded.
        """
        check_currency(currency)
        with self._exports.take(principal.user_id):
            async with self._database.reading() as connection:
                statement = await self._store.find_statement(
                    connection, principal.user_id, currency, start_time=start_time, end_time=end_time
                )
            yield statement
            first = statement.first_sequence
            while first <= statement.last_sequence:
                async with self._database.reading() as connection:
                    movements = await self._store.list_statement_movements(
                        connection, statement, first, EXPORTED_MOVEMENTS
                    )
                yield movements
                first = movements[-1].sequence + 1

    async def _list_new(self, positions: Mapping[tuple[str, str], int]) -> Mapping[tuple[str, str], Sequence[Movement]]:
        async with self._database.reading() as connection:
            return await self._store.list_new_movements(connection, positions, MAX_READ_ITEMS)
