"""Wallets and their balances."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.payment.ledger.model import AccountState, etag

if TYPE_CHECKING:
    from datetime import datetime

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
    """A change of a wallet's state, by an administrator or by the deletion of its owner's account."""

    wallet_id: str
    sequence: int
    """Counts the changes of the wallet, from 1."""
    state: AccountState
    """State after the change."""
    actor_id: str
    """User ID of the administrator; the owner's where the account was deleted."""
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
