"""The canonical bytes of version 1 never change: chains of years ago still verify."""

from __future__ import annotations

import hashlib
import struct
from datetime import UTC, datetime
from uuid import UUID

from services.payment.ledger import chain
from services.payment.ledger.model import AccountKey, AccountKind, Leg, SourceKind, Transaction, TransactionType

TIME = datetime(2026, 3, 4, 5, 6, 7, 891234, tzinfo=UTC)
MICROSECONDS = 1772600767891234
PURSE = AccountKey.wallet(str(UUID(int=1)), "AZR")
REVENUE = AccountKey.system(AccountKind.REVENUE, 2, "AZR")
PAID = Transaction(str(UUID(int=7)), TransactionType.PAYMENT, SourceKind.PAYMENT, str(UUID(int=8)), description="Brød")
SALT = bytes(range(16))


def text(value: str) -> bytes:
    """Return a text's canonical bytes."""
    return struct.pack(">I", len(value.encode())) + value.encode()


def test_a_transaction_is_covered_with_its_memo_and_all_its_legs() -> None:
    legs = [Leg(PURSE, -5), Leg(REVENUE, 5)]
    memo = hashlib.sha256(SALT + "Brød".encode()).digest()
    covered = b"\x01T" + UUID(int=7).bytes + text("PAYMENT") + text("PAYMENT") + UUID(int=8).bytes
    covered += b"\xff\xff\xff\xff" * 2 + memo + struct.pack(">qH", MICROSECONDS, 2)
    for leg in sorted(legs, key=lambda leg: UUID(leg.account.id).bytes):
        covered += UUID(leg.account.id).bytes + text("AZR") + struct.pack(">q", leg.amount_minor)
    digest = chain.transaction_digest(PAID, legs, memo=chain.memo_digest(SALT, "Brød"), create_time=TIME)
    assert digest == hashlib.sha256(covered).digest()
    assert digest == chain.transaction_digest(PAID, legs[::-1], memo=memo, create_time=TIME)


def test_an_earning_is_covered_with_its_reference() -> None:
    earned = Transaction(str(UUID(int=7)), TransactionType.EARN, reference="r", reference_owner="education")
    covered = b"\x01T" + UUID(int=7).bytes + text("EARN") + b"\xff\xff\xff\xff" + bytes(16)
    covered += text("education") + text("r") + bytes(32) + struct.pack(">qH", MICROSECONDS, 1)
    covered += UUID(PURSE.id).bytes + text("AZR") + struct.pack(">q", 5)
    digest = chain.transaction_digest(earned, [Leg(PURSE, 5)], memo=None, create_time=TIME)
    assert digest == hashlib.sha256(covered).digest()


def test_an_entry_is_covered_with_the_one_before() -> None:
    before, transaction = bytes([1]) * 32, bytes([2]) * 32
    covered = b"\x01E" + before + UUID(PURSE.id).bytes + struct.pack(">q", 9) + transaction + struct.pack(">qq", -5, 37)
    made = chain.entry_hash(
        before, transaction, account_id=PURSE.id, sequence=9, amount_minor=-5, balance_after_minor=37
    )
    assert made == hashlib.sha256(covered).digest()


def test_version_1_is_what_it_was() -> None:
    digest = chain.transaction_digest(PAID, [Leg(PURSE, -5), Leg(REVENUE, 5)], memo=None, create_time=TIME)
    assert digest.hex() == "a387af18446446969e203347f846b540793aab22741fd80baae60e4637f79961"


def test_no_description_has_no_digest() -> None:
    assert chain.memo_digest(SALT, "") is None
