"""Accounts, transactions and entries: arithmetic on integers, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from datetime import datetime

STRIPES = 64
"""Accounts that share the work of one system account: each writer posts to a stripe of its own."""
NAMESPACE = UUID("6f1f8b0e-5c0a-5d0f-9a53-0d5f7a1c2b44")
"""Namespace of account IDs (RFC 9562, version 5)."""
GENESIS = bytes(32)
"""Head of an account without entries."""
ADMINISTRATORS = "administrators"
"""Owner of the references by which administrators issue tokens."""


class AccountKind(StrEnum):
    """Kind of an account. Only a wallet's available balance can never be negative."""

    WALLET = "WALLET"
    TREASURY = "TREASURY"
    REVENUE = "REVENUE"
    DONATIONS = "DONATIONS"
    LIQUIDITY = "LIQUIDITY"


class AccountState(StrEnum):
    """State of an account: that of its wallet. System accounts are always active."""

    ACTIVE = "ACTIVE"
    FROZEN = "FROZEN"
    """Credits are accepted, debits and holds are not."""
    CLOSED = "CLOSED"
    """Neither credits nor debits are accepted."""


class TransactionType(StrEnum):
    """Type of a transaction."""

    EARN = "EARN"
    PAYMENT = "PAYMENT"
    REFUND = "REFUND"
    TRANSFER = "TRANSFER"
    FORFEITURE = "FORFEITURE"
    """The balance of a deleted user, moved to the treasury."""


class SourceKind(StrEnum):
    """Kind of the resource that a transaction posts."""

    PAYMENT = "PAYMENT"
    TRANSFER_BATCH = "TRANSFER_BATCH"
    """All transfers that one call created."""


@dataclass(frozen=True)
class AccountKey:
    """Identity of an account. The ID follows from it, so accounts are locked without being looked up first."""

    kind: AccountKind
    owner_id: str
    """ID of the wallet; for a system account the number of the stripe, as a UUID."""
    currency: str

    @classmethod
    @lru_cache(maxsize=65_536)
    def wallet(cls, wallet_id: str, currency: str) -> AccountKey:
        """Return the key of a wallet's account."""
        return cls(AccountKind.WALLET, wallet_id, currency)

    @classmethod
    @lru_cache(maxsize=65_536)
    def system(cls, kind: AccountKind, stripe: int, currency: str) -> AccountKey:
        """Return the key of a stripe of a system account."""
        return cls(kind, str(UUID(int=stripe)), currency)

    @cached_property
    def id(self) -> str:
        """The account's ID."""
        return str(uuid5(NAMESPACE, f"{self.kind}/{self.owner_id}/{self.currency}"))

    @property
    def stripe(self) -> int | None:
        """Number of the stripe of a system account."""
        return None if self.kind is AccountKind.WALLET else UUID(self.owner_id).int


@dataclass(frozen=True, slots=True)
class Owner:
    """A user's wallet as the owner of accounts. None of it ever changes."""

    id: str
    user_id: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Velocity:
    """What was debited from an account since the start of its current window."""

    window_time: datetime | None = None
    """Start of the window."""
    debit_minor: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Leg:
    """One side of a transaction: the amount added to an account (negative: taken from it)."""

    account: AccountKey
    amount_minor: int
    held_minor: int = 0
    """Amount added to the held balance (negative: used up by a capture)."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it stands under its lock."""

    key: AccountKey
    state: AccountState = AccountState.ACTIVE
    posted_minor: int = 0
    held_minor: int = 0
    sequence: int = 0
    """Number of its entries."""
    head: bytes = GENESIS
    """Hash of its last entry."""
    post_time: datetime | None = None
    """Time of its last entry."""
    velocity: Velocity = field(default_factory=Velocity)
    opened: bool = True
    """Whether it is stored. The first entry stores it."""

    @property
    def available_minor(self) -> int:
        """Amount that can be debited."""
        return self.posted_minor - self.held_minor

    @property
    def etag(self) -> str:
        """ETag of the balance."""
        return etag(self.sequence, self.held_minor)


def etag(sequence: int, held_minor: int) -> str:
    """Return the ETag of an account's balance: it changes with every entry and hold."""
    return sha256(f"{sequence}/{held_minor}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Transaction:
    """What the legs are for."""

    id: str
    type: TransactionType
    source_kind: SourceKind | None = None
    source_id: str | None = None
    """ID of the resource that the transaction posts."""
    reference: str | None = None
    """Reference that is unique for its owner and for all time."""
    reference_owner: str | None = None
    """Name of the service that gave the reference, or ADMINISTRATORS."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A posted leg: the amount, and the account right after it."""

    account: AccountKey
    sequence: int
    amount_minor: int
    balance_after_minor: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Posting:
    """A posted transaction."""

    transaction: Transaction
    create_time: datetime
    salt: bytes
    """Salt of the digest by which the hash chain covers the description."""
    entries: tuple[Entry, ...]

    def entry_of(self, key: AccountKey) -> Entry:
        """Return the entry of an account. Raises StopIteration for an account that it does not touch."""
        return next(entry for entry in self.entries if entry.account == key)


@dataclass(frozen=True, slots=True)
class CurrencyTotal:
    """The sums of the debits and credits of all accounts of one currency."""

    currency: str
    debit_minor: int
    credit_minor: int
    agrees: bool
    """Whether every account's balance is its credit less its debit."""

    @property
    def total_minor(self) -> int:
        """Credit less debit: zero, always."""
        return self.credit_minor - self.debit_minor

    @property
    def balanced(self) -> bool:
        """Whether the books balance. Whether they are what was entered is for the proof of the chains to tell."""
        return self.agrees and self.total_minor == 0
