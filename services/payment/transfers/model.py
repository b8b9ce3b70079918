"""Transfers between the wallets of users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from services.payment.wallets.model import Payer
    from services.shared.errors import DomainError
    from services.shared.money import Money


@dataclass(frozen=True, slots=True)
class Target:
    """Recipient of a transfer, by wallet or by user: exactly one is set."""

    wallet_id: str = ""
    user_id: str = ""


@dataclass(frozen=True, slots=True)
class TransferOrder:
    """What to transfer, and to whom."""

    target: Target
    amount: Money
    description: str = ""


@dataclass(frozen=True, slots=True)
class TargetWallet:
    """The wallet that is credited."""

    id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """A posted transfer; the transaction that posts it has its id."""

    id: str
    payer: Payer
    target: TargetWallet
    amount: Money
    description: str
    create_time: datetime
    batch_id: str = ""
    """ID of the batch that created it; empty if it was created by itself."""

    @property
    def parties(self) -> frozenset[str]:
        """User IDs of sender and recipient."""
        return frozenset((self.payer.user_id, self.target.user_id))


@dataclass(frozen=True, slots=True)
class Batch:
    """The result of each transfer of a batch, in order."""

    id: str
    results: tuple[Transfer | DomainError, ...]
    """The errors are those for which a transfer was refused."""


@dataclass(frozen=True, slots=True)
class TransferCompleted:
    """Event: a transfer was posted."""

    transfer: Transfer
