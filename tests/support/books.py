"""Books for tests: the ledger's pure decisions, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING
from uuid import UUID

from services.payment.ledger.book import Book, Changes
from services.payment.ledger.debits import VelocityLimits
from services.payment.ledger.model import Account, AccountKey, AccountState, Owner
from services.payment.transfers.commands import TransferLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.payment.ledger.book import Expiring

NOW = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
DAY = timedelta(days=1)
UNLIMITED = TransferLimits(VelocityLimits(DAY, max_amount=10**9, max_count=10**9), new_wallet_age=DAY)


def numbered_ids() -> Callable[[], str]:
    """Return a source of IDs that counts."""
    numbers = count(1)
    return lambda: str(UUID(int=next(numbers)))


def wallet(number: int) -> Owner:
    """Return a wallet, whose user has its number too."""
    return Owner(str(UUID(int=number << 64)), str(UUID(int=number << 96)), NOW)


def purse(
    owner: Owner, posted_minor: int, *, held_minor: int = 0, state: AccountState = AccountState.ACTIVE
) -> Account:
    """Return a wallet's account in AZR."""
    return Account(AccountKey.wallet(owner.id, "AZR"), state, posted_minor, held_minor)


def book_of(
    *accounts: Account, owners: Sequence[Owner] = (), now: datetime = NOW, expired: Sequence[Expiring] = ()
) -> Book:
    """Return a book with these accounts, and the wallets of these owners."""
    loaded = Changes(
        accounts={account.key.id: account for account in accounts}, owners={owner.user_id: owner for owner in owners}
    )
    return Book(loaded, now=now, new_id=numbered_ids(), new_salt=lambda: bytes(range(16)), stripe=3, expired=expired)
