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

from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from services.payment.ledger.model import AccountKey, Leg, Transaction

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
_entry = Struct(">32s16sq32sqq").pack


def memo_digest(salt: bytes, description: str) -> bytes | None:
    """Return the digest by which a description is covered; None for none."""
    return sha256(salt + description.encode()).digest() if description else None


def transaction_digest(
    transaction: Transaction, legs: Iterable[Leg], *, memo: bytes | None, create_time: datetime
) -> bytes:
    """Return the digest of a transaction with all its legs."""
    ordered = sorted(legs, key=_account_id)
    covered = (
        _TRANSACTION,
        uuid_bytes(transaction.id),
        _label(transaction.type),
        _label(transaction.source_kind),
        uuid_bytes(transaction.source_id) if transaction.source_id else NO_ID,
        _label(transaction.reference_owner),
        ABSENT if transaction.reference is None else _text(transaction.reference),
        memo or NO_MEMO,
        _time_and_legs(microseconds(create_time), len(ordered)),
        *[_account(leg.account) + _amount(leg.amount_minor) for leg in ordered],
    )
    return sha256(b"".join(covered)).digest()


def entry_hash(
    before: bytes, transaction: bytes, *, account_id: str, sequence: int, amount_minor: int, balance_after_minor: int
) -> bytes:
    """Return the hash of an entry, from that of the entry before it and its transaction's digest."""
    covered = _entry(before, uuid_bytes(account_id), sequence, transaction, amount_minor, balance_after_minor)
    return sha256(_ENTRY + covered).digest()


def microseconds(time: datetime) -> int:
    """Return microseconds since 1970, exactly."""
    return int(time.timestamp()) * 1_000_000 + time.microsecond


def uuid_bytes(value: str) -> bytes:
    """Return the 16 bytes of a UUID."""
    return bytes.fromhex(value.replace("-", ""))


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _length(len(encoded)) + encoded


@lru_cache(maxsize=256)
def _label(value: str | None) -> bytes:
    """Return the bytes of one of few texts."""
    return ABSENT if value is None else _text(value)


@lru_cache(maxsize=65_536)
def _account(key: AccountKey) -> bytes:
    return uuid_bytes(key.id) + _text(key.currency)


def _account_id(leg: Leg) -> str:
    return leg.account.id
