"""Accounts and what moves between them: arithmetic on integers, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from services.shared.money import INT64_MAX, INT64_MIN

if TYPE_CHECKING:
    from datetime import datetime

STRIPES = 16
"""How many accounts share the work of one system account, so that not every transaction locks the same row."""
NAMESPACE = UUID("6f1f8b0e-5c0a-5d0f-9a53-0d5f7a1c2b44")
"""Of the ids of accounts (RFC 9562, version 5)."""


ADMINISTRATORS = "administrators"
"""Owner of the references by which administrators issue tokens."""


class AccountKind(StrEnum):
    """Whose money an account counts. Only a wallet can never owe."""

    WALLET = "WALLET"
    TREASURY = "TREASURY"
    REVENUE = "REVENUE"
    DONATIONS = "DONATIONS"


class TransactionType(StrEnum):
    """What a transaction was for."""

    EARN = "EARN"
    PAYMENT = "PAYMENT"
    REFUND = "REFUND"


@dataclass(frozen=True, slots=True)
class AccountKey:
    """What an account is of. Its id follows from that, so accounts are locked without being looked up first."""

    kind: AccountKind
    owner_id: str
    """The wallet's id; for a system account the number of the stripe, as a UUID."""
    currency: str

    @classmethod
    def wallet(cls, wallet_id: str, currency: str) -> AccountKey:
        """Return the key of a wallet's account."""
        return cls(AccountKind.WALLET, wallet_id, currency)

    @classmethod
    def system(cls, kind: AccountKind, wallet_id: str, currency: str) -> AccountKey:
        """Return the key of the stripe of a system account that deals with the wallet."""
        return cls(kind, str(UUID(int=UUID(wallet_id).int % STRIPES)), currency)

    @property
    def id(self) -> str:
        """The account's id."""
        return str(uuid5(NAMESPACE, f"{self.kind}/{self.owner_id}/{self.currency}"))


@dataclass(frozen=True, slots=True)
class Leg:
    """One side of a transaction: what it adds to an account (negative: takes), and to what is held there."""

    account: AccountKey
    amount_minor: int
    held_minor: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it stands under its lock."""

    key: AccountKey
    posted_minor: int = 0
    held_minor: int = 0
    sequence: int = 0
    """How many entries it has."""
    post_time: datetime | None = None
    """Of its last entry."""

    @property
    def available_minor(self) -> int:
        """What can be spent."""
        return self.posted_minor - self.held_minor

    @property
    def countable(self) -> bool:
        """Whether the balance is within 64 bits."""
        return INT64_MIN <= self.posted_minor <= INT64_MAX

    @property
    def covered(self) -> bool:
        """Whether it may stand like this: a wallet never owes."""
        return self.available_minor >= 0 or self.key.kind is not AccountKind.WALLET

    def moved(self, leg: Leg, post_time: datetime) -> Account:
        """Return the account with one more entry."""
        return replace(
            self,
            posted_minor=self.posted_minor + leg.amount_minor,
            held_minor=self.held_minor + leg.held_minor,
            sequence=self.sequence + 1,
            post_time=post_time,
        )

    def holding(self, amount_minor: int) -> Account:
        """Return the account with this much more set aside; a negative amount is given back."""
        return replace(self, held_minor=self.held_minor + amount_minor)


@dataclass(frozen=True, slots=True)
class Transaction:
    """What the legs are for."""

    id: str
    type: TransactionType
    payment_id: str | None = None
    """The payment that is made or refunded."""
    reference: str | None = None
    """What was earned by, unique for its owner and for all time."""
    reference_owner: str | None = None
    """Name of the service that earns by the reference, or ADMINISTRATORS."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A leg that was posted: its amount, and the account right after."""

    amount_minor: int
    account: Account


@dataclass(frozen=True, slots=True)
class CurrencyTotal:
    """The sums of all entries of one currency."""

    currency: str
    debit_minor: int
    credit_minor: int
    agrees: bool
    """Whether every account's balance and sequence are the sum and number of its entries."""

    @property
    def total_minor(self) -> int:
        """Credit less debit: zero, always."""
        return self.credit_minor - self.debit_minor

    @property
    def balanced(self) -> bool:
        """Whether nothing was lost, made up or changed."""
        return self.agrees and self.total_minor == 0
