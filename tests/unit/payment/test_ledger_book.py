"""The pure book: what it posts, what it refuses, and that a refusal has changed nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import pairwise

import pytest

from services.payment.errors import AmountOverflow, InsufficientFunds, WalletFrozen
from services.payment.holds.commands import CreateHold, ReleaseHold
from services.payment.holds.model import Hold, HoldState, Order, PaymentType
from services.payment.ledger.book import Book, Changes
from services.payment.ledger.model import (
    Account,
    AccountKey,
    AccountKind,
    AccountState,
    Leg,
    Posting,
    Transaction,
    TransactionType,
)
from services.payment.payments.commands import CaptureHold, CreatePayment
from services.shared.money import INT64_MAX, INT64_MIN, Money
from tests.support.books import NOW, book_of, numbered_ids, purse, wallet

ADA, BOB = wallet(1), wallet(2)
TREASURY = AccountKey.system(AccountKind.TREASURY, 3, "AZR")
PURSE, OTHER = AccountKey.wallet(ADA.id, "AZR"), AccountKey.wallet(BOB.id, "AZR")
RAND = AccountKey.wallet(ADA.id, "ZAR")


def move(book: Book, *legs: Leg, description: str = "") -> Posting:
    """Post a transaction with these legs."""
    return book.post(Transaction(book.new_id(), TransactionType.PAYMENT, description=description), *legs)


def test_a_posting_moves_balances_sequences_and_times() -> None:
    book = book_of(purse(ADA, 1000), purse(BOB, 5))
    posting = move(book, Leg(PURSE, -300), Leg(OTHER, 300))
    assert [entry.amount_minor for entry in posting.entries] == [-300, 300]
    assert [entry.balance_after_minor for entry in posting.entries] == [700, 305]
    ada, bob = book.account(PURSE), book.account(OTHER)
    assert (ada.posted_minor, ada.sequence, ada.post_time) == (700, 1, NOW)
    assert (bob.posted_minor, bob.sequence, bob.post_time) == (305, 1, NOW)
    assert ada.head == posting.entry_of(PURSE).hash != bob.head


def test_many_legs_in_many_currencies_are_one_transaction() -> None:
    rand = replace(purse(ADA, 50), key=RAND)
    rands = AccountKey.system(AccountKind.LIQUIDITY, 3, "ZAR")
    book = book_of(purse(ADA, 1000), rand)
    posting = move(book, Leg(PURSE, -10), Leg(OTHER, 4), Leg(TREASURY, 6), Leg(RAND, -50), Leg(rands, 50))
    assert len(posting.entries) == len({entry.account.id for entry in posting.entries}) == 5
    assert book.account(RAND).posted_minor == 0
    assert not book.account(OTHER).opened


@pytest.mark.parametrize(
    "legs",
    [
        (),
        (Leg(PURSE, 0), Leg(OTHER, 0)),
        (Leg(PURSE, -1),),
        (Leg(PURSE, -1), Leg(OTHER, 2)),
        (Leg(PURSE, -1), Leg(PURSE, 1)),
        (Leg(RAND, -1), Leg(OTHER, 1)),
        (Leg(PURSE, -2), Leg(OTHER, 1), Leg(OTHER, 1)),
    ],
)
def test_what_is_no_transaction_is_a_defect_of_its_command(legs: tuple[Leg, ...]) -> None:
    book = book_of(purse(ADA, 1000), replace(purse(ADA, 1000), key=RAND))
    with pytest.raises(ValueError, match=r"leg|transaction"):
        move(book, *legs)
    assert not book.changed.postings


@pytest.mark.parametrize(("amount", "refused"), [(700, False), (701, True)])
def test_a_wallet_never_owes_nor_spends_what_is_held(amount: int, *, refused: bool) -> None:
    book = book_of(purse(ADA, 1000, held_minor=300))
    if refused:
        with pytest.raises(InsufficientFunds):
            move(book, Leg(PURSE, -amount), Leg(TREASURY, amount))
    else:
        move(book, Leg(PURSE, -amount), Leg(TREASURY, amount))
        assert book.account(PURSE).available_minor == 0


def test_a_system_account_may_owe() -> None:
    book = book_of(purse(ADA, 0))
    move(book, Leg(TREASURY, -5), Leg(PURSE, 5))
    assert book.account(TREASURY).posted_minor == -5


def test_balances_end_at_64_bits() -> None:
    full = book_of(purse(ADA, INT64_MAX))
    with pytest.raises(AmountOverflow):
        move(full, Leg(TREASURY, -1), Leg(PURSE, 1))
    empty = book_of(Account(TREASURY, posted_minor=INT64_MIN), purse(ADA, 0))
    with pytest.raises(AmountOverflow):
        move(empty, Leg(TREASURY, -1), Leg(PURSE, 1))


def test_a_frozen_wallet_is_credited_and_never_debited() -> None:
    book = book_of(purse(ADA, 1000, held_minor=200, state=AccountState.FROZEN))
    move(book, Leg(TREASURY, -5), Leg(PURSE, 5))
    for attempt in (
        lambda: move(book, Leg(PURSE, -1), Leg(TREASURY, 1)),
        lambda: book.hold(PURSE, 1),
        lambda: move(book, Leg(PURSE, -201, -200), Leg(TREASURY, 201)),
    ):
        with pytest.raises(WalletFrozen):
            attempt()
    move(book, Leg(PURSE, -150, -200), Leg(TREASURY, 150))
    assert (book.account(PURSE).posted_minor, book.account(PURSE).held_minor) == (855, 0)


def test_time_never_runs_back_in_any_account() -> None:
    later = NOW + timedelta(hours=1)
    book = book_of(purse(ADA, 1000), replace(purse(BOB, 0), post_time=later))
    assert move(book, Leg(PURSE, -1), Leg(OTHER, 1)).create_time == later
    assert move(book, Leg(PURSE, -1), Leg(TREASURY, 1)).create_time == later


def test_each_entry_hashes_the_one_before() -> None:
    book = book_of(purse(ADA, 1000))
    postings = [move(book, Leg(PURSE, -1), Leg(TREASURY, 1), description="x") for _ in range(3)]
    hashes = [posting.entry_of(PURSE).hash for posting in postings]
    assert len(set(hashes)) == 3
    assert book.account(PURSE).head == hashes[-1]
    assert all(one != other for one, other in pairwise(hashes))


def test_a_refused_command_has_changed_nothing() -> None:
    book = book_of(purse(ADA, 1000))

    def spend_too_much(overlay: Book) -> None:
        move(overlay, Leg(PURSE, -600), Leg(TREASURY, 600))
        overlay.open_wallet(BOB.user_id)
        overlay.publish("event")
        overlay.enqueue("job", delay=timedelta(0))
        move(overlay, Leg(PURSE, -600), Leg(TREASURY, 600))

    with pytest.raises(InsufficientFunds):
        book.attempt(spend_too_much)
    assert book.changed == Changes()
    assert book.account(PURSE).posted_minor == 1000
    assert book.owner(BOB.user_id) is None


def test_part_of_a_command_can_be_refused_alone() -> None:
    book = book_of(purse(ADA, 1000))

    def spend_one(amount: int, part: Book) -> Posting:
        return move(part, Leg(PURSE, -amount), Leg(TREASURY, amount))

    def spend(overlay: Book) -> list[bool]:
        verdicts = []
        for amount in (600, 600, 400):
            try:
                overlay.attempt(partial(spend_one, amount))
                verdicts.append(True)
            except InsufficientFunds:
                verdicts.append(False)
        return verdicts

    assert book.attempt(spend) == [True, False, True]
    assert book.account(PURSE).posted_minor == 0
    assert len(book.changed.postings) == 2


def test_a_quote_changes_nothing() -> None:
    book = book_of(purse(ADA, 1000))
    quoted = book.quote(lambda overlay: move(overlay, Leg(PURSE, -600), Leg(TREASURY, 600)))
    assert quoted.entry_of(PURSE).balance_after_minor == 400
    assert book.changed == Changes()


def test_a_reference_is_found_in_the_group_that_posts_it() -> None:
    book = book_of(purse(ADA, 0))
    transaction = Transaction(book.new_id(), TransactionType.EARN, reference="r", reference_owner="education")
    posting = book.post(transaction, Leg(TREASURY, -5), Leg(PURSE, 5))
    assert book.posted("education", "r") is posting
    assert book.posted("administrators", "r") is None


ORDER = Order(PaymentType.DONATION, Money(400))


def held(book: Book, *, expire_after: timedelta = timedelta(minutes=1)) -> Hold:
    """Hold 400 of the purse."""
    return book.attempt(CreateHold(ADA.user_id, "", ORDER, expire_after).decide)


def test_holds_are_created_captured_and_released_within_one_group() -> None:
    book = book_of(purse(ADA, 1000), owners=[ADA])
    first, second = held(book), held(book)
    with pytest.raises(InsufficientFunds):
        held(book)
    capture = CaptureHold(first.id, ADA.user_id, "", Money(150), timedelta(days=14))
    captured, payment = book.attempt(capture.decide)
    assert (captured.state, captured.payment_id, payment.order.amount) == (HoldState.CAPTURED, payment.id, Money(150))
    book.attempt(ReleaseHold(second.id, ADA.user_id, "").decide)
    account = book.account(PURSE)
    assert (account.posted_minor, account.held_minor) == (850, 0)


def test_what_has_expired_is_released_before_any_command_decides() -> None:
    before = book_of(purse(ADA, 1000), owners=[ADA])
    hold = held(before, expire_after=timedelta(0))
    book = book_of(before.account(PURSE), owners=[ADA], expired=[hold])
    assert book.account(PURSE).available_minor == 1000
    found = book.find(Hold, hold.id)
    assert found is not None
    assert found.state is HoldState.EXPIRED


def test_a_payment_decides_by_the_book_alone() -> None:
    @dataclass(frozen=True)
    class Decided:
        """What two books with the same contents decide."""

        payment: object
        changes: Changes

    def decided() -> Decided:
        book = book_of(purse(ADA, 1000), owners=[ADA])
        payment = book.attempt(CreatePayment(ADA.user_id, "", ORDER, timedelta(days=14)).decide)
        return Decided(payment, book.changed)

    assert decided() == decided()
    assert numbered_ids()() == numbered_ids()()
