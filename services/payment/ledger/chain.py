"""The hash chain of an account: canonical bytes of what was posted, and SHA-256 over them.

Version 1. All integers are big-endian; `text` is its length in bytes as u32 and its UTF-8, an absent value is the
length 0xFFFFFFFF alone; `uuid` is its 16 bytes, an absent one 16 zeros; `time` is microseconds since 1970 as i64.

    memo        = SHA-256(salt 16 | description as UTF-8)              for a transaction with a description
    transaction = SHA-256(01 | "T" | id uuid | type text | source_kind text | source_id uuid | reference_owner text
                          | reference text | memo 32 (zeros without a description) | create_time time | legs u16
                          | for each leg in order of account IDs: account uuid, currency text, amount i64)
    entry       = SHA-256(01 | "E" | entry before 32 | account uuid | sequence i64 | transaction 32 | amount i64
                          | balance_after i64)

The entry before an account's first one is 32 zeros. An account's ID is the UUIDv5 of its kind, owner and currency, so
these are covered too. Each entry covers all legs of its transaction: a change in one account breaks the chains of all.
Descriptions are erasable: only their salted digest is covered. The same bytes are made in SQL by migration 0020.
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from services.payment.ledger.model import Leg, Transaction

VERSION = 1
SALT_BYTES = 16
ABSENT = b"\xff\xff\xff\xff"
NO_ID = bytes(16)
NO_MEMO = bytes(32)

_TRANSACTION = bytes([VERSION]) + b"T"
_ENTRY = bytes([VERSION]) + b"E"
_length = Struct(">I").pack
_time_and_legs = Struct(">qH").pack
_amount = Struct(">q").pack
_amounts = Struct(">qq").pack


def memo_digest(salt: bytes, description: str) -> bytes | None:
    """Return the digest by which a description is covered; None for none."""
    return sha256(salt + description.encode()).digest() if description else None


def transaction_digest(
    transaction: Transaction, legs: Iterable[Leg], *, memo: bytes | None, create_time: datetime
) -> bytes:
    """Return the digest of a transaction with all its legs."""
    ordered = sorted(legs, key=lambda leg: leg.account.id)
    parts = [
        _TRANSACTION,
        _uuid(transaction.id),
        _text(transaction.type),
        _text(transaction.source_kind),
        _uuid(transaction.source_id),
        _text(transaction.reference_owner),
        _text(transaction.reference),
        memo or NO_MEMO,
        _time_and_legs(microseconds(create_time), len(ordered)),
    ]
    for leg in ordered:
        parts += (_uuid(leg.account.id), _text(leg.account.currency), _amount(leg.amount_minor))
    return sha256(b"".join(parts)).digest()


def entry_hash(
    before: bytes, transaction: bytes, *, account_id: str, sequence: int, amount_minor: int, balance_after_minor: int
) -> bytes:
    """Return the hash of an entry, from that of the entry before it and its transaction's digest."""
    return sha256(
        _ENTRY
        + before
        + _uuid(account_id)
        + _amount(sequence)
        + transaction
        + _amounts(amount_minor, balance_after_minor)
    ).digest()


def microseconds(time: datetime) -> int:
    """Return microseconds since 1970, exactly."""
    return int(time.timestamp()) * 1_000_000 + time.microsecond


def _uuid(value: str | None) -> bytes:
    return bytes.fromhex(value.replace("-", "")) if value else NO_ID


def _text(value: str | None) -> bytes:
    if value is None:
        return ABSENT
    encoded = value.encode()
    return _length(len(encoded)) + encoded
