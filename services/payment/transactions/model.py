"""Transactions as one wallet sees them, and statements of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.payment.ledger.model import AccountKind, SourceKind
from services.shared.money import Money

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from services.payment.ledger.model import Entry, Posting, TransactionType


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
    """ID of the payment that was made or refunded; empty for other transactions."""
    reference: str
    """Reference of an earning; empty otherwise."""
    counterparty_wallet_ids: tuple[str, ...] = ()
    """IDs of the wallets on the other side: those that a credit debits, or a debit credits."""

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
            counterparty_wallet_ids=tuple(
                sorted(other.account.owner_id for other in posting.entries if _opposite(entry, other))
            ),
        )


def _opposite(entry: Entry, other: Entry) -> bool:
    """Whether another entry is a wallet's on the other side of its transaction, in the same currency."""
    return (
        other.account.kind is AccountKind.WALLET
        and other.account.currency == entry.account.currency
        and (other.amount_minor > 0) is not (entry.amount_minor > 0)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MovementFilter:
    """Which movements of a currency are listed. None and empty texts do not filter."""

    currency: str
    type: TransactionType | None = None
    start_time: datetime | None = None
    """Inclusive."""
    end_time: datetime | None = None
    """Exclusive."""
    min_amount_minor: int | None = None
    """Inclusive, of the signed amount."""
    max_amount_minor: int | None = None
    """Inclusive, of the signed amount."""
    counterparty_wallet_id: str = ""
    reference: str = ""

    @property
    def everything(self) -> bool:
        """Whether all movements of the currency are listed."""
        return self == MovementFilter(currency=self.currency)

    @property
    def canonical(self) -> Mapping[str, Any]:
        """The filter as JSON values, for page tokens."""
        return {
            "currency": self.currency,
            "type": self.type,
            "start": self.start_time and self.start_time.isoformat(),
            "end": self.end_time and self.end_time.isoformat(),
            "min": self.min_amount_minor,
            "max": self.max_amount_minor,
            "counterparty": self.counterparty_wallet_id,
            "reference": self.reference,
        }


@dataclass(frozen=True, slots=True)
class Scan:
    """The movements that were found in a stretch of the history, newest first."""

    movements: tuple[Movement, ...]
    next_sequence: int | None
    """Sequence from which the search goes on, this one excluded; None at the end of the history."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where the history of a wallet ends."""

    account_id: str | None = None
    """None for a wallet without entries in the currency."""
    sequence: int = 0
    """Sequence of the last entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The bounds of a statement: opening balance + amounts = closing balance."""

    currency: str
    start_time: datetime | None
    """None for one that begins with the wallet."""
    end_time: datetime
    account_id: str | None = None
    first_sequence: int = 1
    """Sequence of the first entry."""
    last_sequence: int = 0
    """Sequence of the last entry; lower than that of the first where there is none."""
    opening: Money = field(default_factory=lambda: Money(0))
    closing: Money = field(default_factory=lambda: Money(0))
