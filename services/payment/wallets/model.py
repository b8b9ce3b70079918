"""Wallets and their balances."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


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

    @property
    def available_minor(self) -> int:
        """What can be spent."""
        return self.posted_minor - self.held_minor


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
