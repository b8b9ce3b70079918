"""Ledger posting, the one place where balances change, and the trial balance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.payment.errors import AmountOverflow, InsufficientFunds
from services.payment.ledger.model import Account, Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.ledger.model import AccountKey, CurrencyTotal, Leg, Transaction
    from services.payment.ledger.store import LedgerStore
    from services.shared.db import Database


class Ledger:
    """Moves money between accounts, within the caller's transaction."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store

    async def lock(self, connection: AsyncConnection, *keys: AccountKey) -> Mapping[AccountKey, Account]:
        """Lock all accounts that the transaction will touch, at once: only then is their order the same for all."""
        return await self._store.lock_accounts(connection, keys)

    async def post(
        self,
        connection: AsyncConnection,
        transaction: Transaction,
        *legs: Leg,
        locked: Mapping[AccountKey, Account] | None = None,
    ) -> datetime | None:
        """Post a transaction whose legs sum to zero; return its time, or None, with nothing done, for a used reference.

        `locked` are its accounts, if the caller has just locked them all.

        Its time is read under the locks of its accounts, and is never before that of their last entries: by time and
        by sequence, an account's entries have one order. Raises InsufficientFunds, AmountOverflow.
        """
        accounts = locked or await self._store.lock_accounts(connection, (leg.account for leg in legs))
        post_time = await self._store.insert_transaction(
            connection, transaction, not_before=last_time(accounts.values())
        )
        if post_time is None:
            return None
        moved = [Entry(leg.amount_minor, _checked(accounts[leg.account].moved(leg, post_time))) for leg in legs]
        await self._store.insert_entries(connection, transaction.id, moved)
        return post_time

    async def set_aside(self, connection: AsyncConnection, key: AccountKey, amount_minor: int) -> None:
        """Hold this much more of the account; a negative amount is given back. Raises InsufficientFunds."""
        accounts = await self._store.lock_accounts(connection, [key])
        await self._store.update_accounts(connection, [_checked(accounts[key].holding(amount_minor))])


class LedgerOperations:
    """Ledger verification for administrators."""

    def __init__(self, *, database: Database, store: LedgerStore) -> None:
        self._database = database
        self._store = store

    async def trial_balance(self) -> Sequence[CurrencyTotal]:
        """Return the sums of all entries, by currency, as of one moment."""
        async with self._database.reading() as connection:
            return await self._store.list_totals(connection)


def last_time(accounts: Iterable[Account]) -> datetime | None:
    """Return the time of the last entry of any of the accounts."""
    return max((account.post_time for account in accounts if account.post_time), default=None)


def _checked(account: Account) -> Account:
    if not account.covered:
        raise InsufficientFunds(currency=account.key.currency)
    if not account.countable:
        raise AmountOverflow
    return account
