"""Wallets, their balances, and their transactions as one wallet sees them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from services.payment.ledger.model import SourceKind, etag
from services.shared.money import Money

if TYPE_CHECKING:
    from datetime import datetime

    from services.payment.ledger.model import Entry, Posting, TransactionType


class WalletState(StrEnum):
    """Whether a wallet can spend."""

    ACTIVE = "ACTIVE"
    FROZEN = "FROZEN"


@dataclass(frozen=True, slots=True)
class Balance:
    """What a wallet holds of one currency, in minor units."""

    currency: str
    posted_minor: int = 0
    held_minor: int = 0
    """Set aside by holds that are neither captured, released nor expired."""
    sequence: int = 0
    """Number of its entries."""

    @property
    def available_minor(self) -> int:
        """What can be spent."""
        return self.posted_minor - self.held_minor

    @property
    def etag(self) -> str:
        """ETag by which a debit can be made conditional; empty before the first entry."""
        return etag(self.sequence, self.held_minor) if self.sequence else ""


@dataclass(frozen=True, slots=True)
class Wallet:
    """A person's wallet."""

    id: str = ""
    """Empty for one that has not opened yet."""
    state: WalletState = WalletState.ACTIVE
    create_time: datetime | None = None
    balances: tuple[Balance, ...] = ()


@dataclass(frozen=True, slots=True)
class Payer:
    """User and wallet that are debited."""

    user_id: str
    wallet_id: str


@dataclass(frozen=True, slots=True)
class Movement:
    """A transaction as one wallet sees it."""

    id: str
    """ID of the transaction."""
    sequence: int
    """Counts the wallet's movements of this currency, from 1."""
    type: TransactionType
    amount: Money
    """Positive into the wallet, negative out of it."""
    balance_after: Money
    create_time: datetime
    description: str
    payment_id: str
    """ID of the payment that was made or refunded; empty for earnings."""
    reference: str
    """Reference of an earning; empty otherwise."""

    @classmethod
    def of(cls, posting: Posting, entry: Entry) -> Movement:
        """Return a posted transaction as the wallet of one of its entries sees it."""
        posted, currency = posting.transaction, entry.account.currency
        return cls(
            id=posted.id,
            sequence=entry.sequence,
            type=posted.type,
            amount=Money(entry.amount_minor, currency),
            balance_after=Money(entry.balance_after_minor, currency),
            create_time=posting.create_time,
            description=posted.description,
            payment_id=posted.source_id or "" if posted.source_kind is SourceKind.PAYMENT else "",
            reference=posted.reference or "",
        )
