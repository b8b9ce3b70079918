"""Lists of transactions by filters, however long the history is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from azora.payment.v1 import wallet_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.payment.ledger.book import Command, Needs
from services.payment.ledger.model import AccountKey, Leg, SourceKind, Transaction, TransactionType
from services.payment.transactions.model import Movement
from services.payment.transactions.store import LIST_FILTERED, LIST_NEW, SCANNED_ENTRIES
from services.shared.ids import new_id
from services.shared.money import INT64_MAX
from tests.support.ledgers import replica
from tests.support.plans import explain
from tests.support.refusals import refusal

if TYPE_CHECKING:
    from services.payment.ledger.book import Book
    from tests.support.payment import Person, RunningPayment

ENTRIES = 20_000
MOMENT = datetime(2030, 1, 1, 0, 0, 30, tzinfo=UTC)
# Triggers that prove what the service writes are of no use to rows that are written here by hand.
LONG_HISTORY = """
ALTER TABLE transactions DISABLE TRIGGER USER;
ALTER TABLE entries DISABLE TRIGGER USER;
INSERT INTO transactions (id, type, reference_owner, reference, legs)
    SELECT gen_random_uuid(), 'EARN', 'administrators', 'history:' || n, 2 FROM generate_series(2, 20000) AS n;
INSERT INTO entries (account_id, sequence, transaction_id, currency, amount, balance_after, create_time, hash)
    SELECT accounts.id, split_part(reference, ':', 2)::int, posted.id, 'AZR', 1, 1,
        '2030-01-01'::timestamptz + split_part(reference, ':', 2)::int * interval '1 second', accounts.head
    FROM accounts, transactions posted WHERE reference LIKE 'history:%' AND accounts.kind = 'WALLET';
UPDATE accounts SET sequence = 20000, head = decode(repeat('00', 32), 'hex') WHERE kind = 'WALLET'
"""


@dataclass(frozen=True)
class Give(Command[Movement]):
    """Move an amount from one wallet to others."""

    sender: str
    recipients: tuple[str, ...]

    @property
    def needs(self) -> Needs:
        return Needs(users=(self.sender, *self.recipients), currencies=("AZR",))

    def decide(self, book: Book) -> Movement:
        sender = AccountKey.wallet(book.open_wallet(self.sender).id, "AZR")
        legs = [Leg(AccountKey.wallet(book.open_wallet(user).id, "AZR"), 10) for user in self.recipients]
        transaction = Transaction(book.new_id(), TransactionType.PAYMENT, SourceKind.PAYMENT, new_id())
        posting = book.post(transaction, Leg(sender, -10 * len(legs)), *legs)
        return Movement.of(posting, posting.entry_of(sender))


async def _give(payment: RunningPayment, sender: Person, *recipients: Person) -> Movement:
    other = replica(payment.app_url)
    try:
        return await other.writer.run(Give(sender.id, tuple(person.id for person in recipients)))
    finally:
        await other.database.close()


async def _sequences(person: Person, **filters: Any) -> list[int]:
    """Return the sequences of all pages of a filtered list."""
    found: list[int] = []
    token = ""
    while True:
        page = await person.transactions(page_token=token, **filters)
        found += [transaction.sequence for transaction in page.transactions]
        token = page.next_page_token
        if not token:
            return found


async def test_type_amount_and_reference(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    paid = await person.pay(300)
    await person.refund(paid.id)
    await payment.earn(person, 50, reference="course:1")
    await (await payment.rich(1)).pay(1)

    assert await _sequences(person, type=wallet_pb2.TRANSACTION_TYPE_EARN) == [4, 1]
    assert await _sequences(person, type=wallet_pb2.TRANSACTION_TYPE_PAYMENT, page_size=1) == [2]
    assert await _sequences(person, min_amount=51) == [3, 1]
    assert await _sequences(person, max_amount=-1) == [2]
    assert await _sequences(person, min_amount=50, max_amount=300) == [4, 3]
    assert await _sequences(person, min_amount=5, max_amount=4) == []
    assert await _sequences(person, reference="course:1") == [4]
    assert await _sequences(person, reference="course:1", max_amount=49) == []
    assert await _sequences(person, reference="course:2") == []
    assert await _sequences(payment.person(), reference="course:1") == []
    assert await _sequences(person, currency="ZAR", max_amount=-1) == []


async def test_a_time_range_includes_its_start_and_not_its_end(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    for _ in range(5):
        await person.pay(1)
    times = [each.create_time for each in reversed((await person.transactions()).transactions)]
    second, fifth = times[1], times[4]

    assert await _sequences(person, start_time=second, end_time=fifth) == [4, 3, 2]
    assert await _sequences(person, start_time=second) == [6, 5, 4, 3, 2]
    assert await _sequences(person, end_time=second) == [1]
    assert await _sequences(person, start_time=second, end_time=fifth, page_size=1) == [4, 3, 2]
    assert await _sequences(person, start_time=fifth, end_time=second) == []
    assert await _sequences(person, start_time=second, end_time=fifth, max_amount=-2) == []
    future = Timestamp()
    future.FromDatetime(datetime.now(UTC) + timedelta(days=1))
    assert await _sequences(person, start_time=future) == []
    assert await _sequences(person, end_time=future) == [6, 5, 4, 3, 2, 1]


async def test_counterparties_are_the_wallets_on_the_other_side(payment: RunningPayment) -> None:
    sender, one, two = [await payment.rich(100) for _ in range(3)]
    ids = {person.id: (await person.wallet()).id for person in (sender, one, two)}
    posted = await _give(payment, sender, one)
    await _give(payment, sender, one, two)
    await _give(payment, two, sender)

    newest, both, single, earned = (await sender.transactions()).transactions
    assert list(newest.counterparty_wallet_ids) == [ids[two.id]]
    assert list(both.counterparty_wallet_ids) == sorted([ids[one.id], ids[two.id]])
    assert tuple(single.counterparty_wallet_ids) == posted.counterparty_wallet_ids == (ids[one.id],)
    assert list(earned.counterparty_wallet_ids) == []
    assert list((await one.transactions()).transactions[0].counterparty_wallet_ids) == [ids[sender.id]]

    assert await _sequences(sender, counterparty_wallet_id=ids[one.id]) == [3, 2]
    assert await _sequences(sender, counterparty_wallet_id=ids[two.id], min_amount=1) == [4]
    assert await _sequences(one, counterparty_wallet_id=ids[two.id]) == [], "recipients are no counterparties"
    assert await _sequences(sender, counterparty_wallet_id=new_id()) == []


async def test_filters_that_break_the_rules(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    for filters, field in (
        ({"type": 99}, "type"),
        ({"counterparty_wallet_id": "me"}, "counterpartyWalletId"),
        ({"reference": "x" * 201}, "reference"),
        ({"start_time": Timestamp(seconds=10**15)}, "startTime"),
        ({"end_time": Timestamp(seconds=-(10**15))}, "endTime"),
    ):
        assert (await refusal(person.transactions(**filters))).fields == (field,)


async def test_a_token_belongs_to_its_filter(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    for _ in range(3):
        await person.pay(1)
    token = (await person.transactions(max_amount=-1, page_size=1)).next_page_token
    assert (await person.transactions(max_amount=-1, page_token=token)).transactions
    for other in ({}, {"max_amount": -2}, {"max_amount": -1, "reference": "a"}):
        assert (await refusal(person.transactions(page_token=token, **other))).reason == "PAGE_TOKEN_INVALID"


async def test_a_filter_that_matches_little_looks_at_a_bounded_stretch_a_page(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    await _lengthen(payment)
    page = await person.transactions(min_amount=100)
    assert not page.transactions
    assert page.next_page_token
    assert await _sequences(person, min_amount=100) == [1], "and yet finds all there is"
    assert await _sequences(person, reference="history:77") == [77]
    start, end = Timestamp(), Timestamp()
    start.FromDatetime(datetime(2030, 1, 1, 0, 0, 30, tzinfo=UTC))
    end.FromDatetime(datetime(2030, 1, 1, 0, 0, 40, tzinfo=UTC))
    assert await _sequences(person, start_time=start, end_time=end) == list(range(39, 29, -1))


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        ({"min_amount": 100}, SCANNED_ENTRIES),
        ({"type": "REFUND"}, SCANNED_ENTRIES),
        ({"counterparty": new_id()}, SCANNED_ENTRIES),
        ({"reference": "history:77"}, 50),
        ({"start_time": MOMENT, "end_time": MOMENT + timedelta(seconds=30)}, 50),
    ],
)
async def test_what_a_filtered_page_reads_does_not_grow_with_history(
    payment: RunningPayment, filters: dict[str, Any], rows: int
) -> None:
    person = await payment.rich(100)
    await _lengthen(payment)
    values = {
        "user_id": person.id,
        "currency": "AZR",
        "before": INT64_MAX,
        "count": 21,
        "type": "",
        "start_time": None,
        "end_time": None,
        "min_amount": -INT64_MAX,
        "max_amount": INT64_MAX,
        "counterparty": None,
        "reference": "",
    }
    plan = await explain(payment.owner_url, LIST_FILTERED, values | filters)
    assert plan.rows_read <= rows


async def test_what_a_watch_reads_does_not_grow_with_history(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    await _lengthen(payment)
    values = {"user_ids": [person.id], "currencies": ["AZR"], "positions": [ENTRIES - 5], "count": 100}
    assert (await explain(payment.owner_url, LIST_NEW, values)).rows_read <= 20


async def _lengthen(payment: RunningPayment) -> None:
    for statement in LONG_HISTORY.split(";\n"):
        await payment.sql(statement)
