"""What is verified of the ledger, and what is found."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


class FindingType(StrEnum):
    """What does not agree."""

    ENTRY_MISSING = "ENTRY_MISSING"
    ENTRY_CHANGED = "ENTRY_CHANGED"
    TRANSACTION_CHANGED = "TRANSACTION_CHANGED"
    ACCOUNT_MISMATCH = "ACCOUNT_MISMATCH"
    HOLD_MISMATCH = "HOLD_MISMATCH"
    PAYMENT_MISMATCH = "PAYMENT_MISMATCH"
    REFUND_MISMATCH = "REFUND_MISMATCH"
    CHECKPOINT_MISMATCH = "CHECKPOINT_MISMATCH"


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement."""

    type: FindingType
    resource: str
    """Name of what does not agree: "accounts/ID/entries/7"."""
    description: str


class KeyState(StrEnum):
    """State of a checkpoint key. All are published: what a retired one signed stays verifiable."""

    ACTIVE = "ACTIVE"
    RETIRED = "RETIRED"


@dataclass(frozen=True, slots=True)
class CheckpointKey:
    """A key that signs checkpoints. Each is endorsed by the key before it."""

    id: str
    state: KeyState
    verifier: str
    """Verifier key of the C2SP signed-note format."""
    endorsement: bytes | None
    """Signature of the previous key; None for the first."""
    create_time: datetime
    private_key_sealed: bytes | None = None
    """None once it is retired."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed statement about the heads of all accounts at one time."""

    number: int
    key_id: str
    note: str
    """The signed note."""
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Head:
    """Head of an account's chain."""

    sequence: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class AccountHeads:
    """An account's head now and at the last checkpoint."""

    account_id: str
    now: Head
    before: Head | None
    """At the last checkpoint; None if it was not part of it."""
    hash_there: bytes | None
    """Hash of the entry that now has the sequence of `before`."""


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """An account as it is stored, and what is stored about it elsewhere."""

    id: str
    kind: str
    owner_id: str
    currency: str
    stripe: int | None
    state: str
    posted_minor: int
    held_minor: int
    sequence: int
    head: bytes
    post_time: datetime | None
    debit_minor: int
    credit_minor: int
    active_holds_minor: int
    """Sum of its active holds."""
    wallet_state: str | None
    """State of its wallet; None if there is no wallet."""
    leaf: Head | None
    """Its head at the checkpoint; None without one."""


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as it is stored."""

    account_id: str
    sequence: int
    transaction_id: str
    currency: str
    amount_minor: int
    balance_after_minor: int
    create_time: datetime
    hash: bytes


@dataclass(frozen=True, slots=True)
class StoredLeg:
    """A leg of a transaction, with the identity of its account."""

    kind: str
    owner_id: str
    currency: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class StoredTransaction:
    """A transaction as it is stored."""

    id: str
    type: str
    source_kind: str | None
    source_id: str | None
    reference_owner: str | None
    reference: str | None
    leg_count: int
    memo_digest: bytes | None
    create_time: datetime
    salt: bytes | None
    description: str | None
    """None without a memo, or once it is erased."""
    legs: Sequence[StoredLeg] = ()


@dataclass(frozen=True, slots=True)
class ListedEntry:
    """An entry with its account and transaction, as it is listed."""

    entry: StoredEntry
    account_kind: str
    owner_id: str
    type: str
    source_kind: str
    source_id: str
    reference_owner: str
    reference: str
    memo_digest: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an account's chain is verified."""

    account_id: str
    sequence: int = 0
    balance_minor: int = 0
    credit_minor: int = 0
    hash: bytes = bytes(32)
    time_microseconds: int | None = None


@dataclass(frozen=True, slots=True)
class ChainPage:
    """Accounts with entries that are verified together, as of one moment."""

    accounts: Sequence[StoredAccount]
    """In the order of their IDs; the last one may be incomplete."""
    entries: Sequence[StoredEntry]
    transactions: Mapping[str, StoredTransaction]
    progress: Progress | None
    """Of the first account, if a part of it is verified already."""
    incomplete: str
    """ID of the account whose entries go on; empty if all are complete."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Result of a step of verification."""

    findings: Sequence[Finding] = ()
    finding_count: int = 0
    """Number of findings, listed or not."""
    account_count: int = 0
    entry_count: int = 0
    checkpoint: Checkpoint | None = None
    """The checkpoint that accounts are compared with."""
    next_page_token: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A stored row, and what does not agree about it."""

    id: str
    description: str | None


@dataclass(frozen=True, slots=True)
class Position:
    """Where verification goes on."""

    phase: int = 0
    after: str = ""
    """ID or number of the last row that is done."""
    checkpoint: int = 0
    """Number of the checkpoint that accounts are compared with; 0 for none."""
    progress: Progress | None = None
    leaf_count: int = 0
    roots: tuple[bytes, ...] = field(default=())
    """Subtrees of the Merkle tree so far."""
