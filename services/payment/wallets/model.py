"""Wallets, their balances, and their transactions as one wallet sees them."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.payment.ledger.model import AccountState, SourceKind, etag
from services.shared.money import Money

if TYPE_CHECKING:
    from datetime import datetime

    from services.payment.ledger.model import Entry, Posting, TransactionType

REFUNDS_OF = "wallet:"
"""Prefix of the key by which commands need the pending refunds to a wallet; its ID follows."""


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
class StateChange:
    """A change of a wallet's state by an administrator."""

    wallet_id: str
    sequence: int
    """Counts the changes of the wallet, from 1."""
    state: AccountState
    """State after the change."""
    actor_id: str
    """User ID of the administrator."""
    reason: str
    change_time: datetime

    @property
    def id(self) -> str:
        """What it is found by."""
        return f"{self.wallet_id}/{self.sequence}"


@dataclass(frozen=True, slots=True)
class WalletStatus:
    """A wallet without its balances, found by its ID or its owner's."""

    id: str
    user_id: str
    create_time: datetime
    state: AccountState = AccountState.ACTIVE
    last_change: StateChange | None = None
    """The latest change of state."""

    @property
    def revision(self) -> int:
        """Number of its changes of state."""
        return self.last_change.sequence if self.last_change else 0

    @property
    def aliases(self) -> tuple[str, ...]:
        """What else it is found by: its owner."""
        return (self.user_id,)


@dataclass(frozen=True, slots=True)
class Wallet:
    """A user's wallet with its balances."""

    status: WalletStatus | None = None
    """None if it has not been opened."""
    balances: tuple[Balance, ...] = ()

    @property
    def etag(self) -> str:
        """A value that changes with the wallet's state and balances; empty if it has not been opened."""
        if self.status is None:
            return ""
        stands = sorted((balance.currency, balance.sequence, balance.held_minor) for balance in self.balances)
        text = f"{self.status.id} {self.status.revision} {[stand for stand in stands if stand[1] or stand[2]]}"
        return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:12]).decode()


@dataclass(frozen=True, slots=True)
class WalletStateChanged:
    """Event: an administrator changed a wallet's state."""

    wallet_id: str
    user_id: str
    state: AccountState
    change_time: datetime


@dataclass(frozen=True, slots=True)
class UserRegistered:
    """Event of Auth: a user's account was created."""

    user_id: str


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
