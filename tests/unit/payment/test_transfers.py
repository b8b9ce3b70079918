"""Transfers on the pure book: what they move, what they refuse, and what they count."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from services.payment.errors import (
    AmountOverflow,
    CurrencyMismatch,
    EtagMismatch,
    InsufficientFunds,
    MinimumAvailableNotMet,
    SelfTransfer,
    TargetWalletNotFound,
    VelocityExceeded,
    WalletFrozen,
)
from services.payment.holds.commands import CreateHold
from services.payment.holds.model import Order, PaymentType
from services.payment.ledger.debits import Conditions, Terms, VelocityLimits
from services.payment.ledger.model import AccountKey, AccountState, SourceKind, Velocity
from services.payment.payments.commands import CreatePayment, Earn
from services.payment.payments.model import Earning
from services.payment.transfers.commands import BatchCreateTransfers, CreateTransfer, TransferLimits
from services.payment.transfers.model import Target, TargetWallet, Transfer, TransferCompleted, TransferOrder
from services.shared.errors import DomainError
from services.shared.money import INT64_MAX, Money
from tests.support.books import NOW, book_of, purse, wallet

if TYPE_CHECKING:
    from services.payment.ledger.book import Book

ADA, BOB, NEW = wallet(1), wallet(2), wallet(3)
PURSE, OTHER = AccountKey.wallet(ADA.id, "AZR"), AccountKey.wallet(BOB.id, "AZR")
DAY = timedelta(days=1)
VELOCITY = VelocityLimits(window=DAY, max_amount=10, max_count=5)
LIMITS = TransferLimits(VELOCITY, new_wallet_age=7 * DAY)


def order(minor: int, target: Target | None = None, currency: str = "AZR") -> TransferOrder:
    return TransferOrder(target or Target(user_id=BOB.user_id), Money(minor, currency))


def transfer(
    book: Book,
    minor: int,
    target: Target | None = None,
    *,
    conditions: Conditions | None = None,
    limits: TransferLimits = LIMITS,
) -> Transfer:
    command = CreateTransfer(ADA.user_id, order(minor, target), conditions or Conditions(), limits)
    return book.attempt(command.decide)


def rich(minor: int = 1000, **others: int) -> Book:
    return book_of(purse(ADA, minor), purse(BOB, others.get("bob", 0)), owners=[ADA, BOB])


def untouched(book: Book) -> bool:
    changed = book.changed
    return not (changed.accounts or changed.owners or changed.postings or changed.events)


def test_a_transfer_moves_its_amount_and_is_an_event() -> None:
    book = rich()
    made = transfer(book, 300)
    assert (book.account(PURSE).posted_minor, book.account(OTHER).posted_minor) == (700, 300)
    (posting,) = book.changed.postings
    assert (made.id, made.create_time, made.batch_id) == (posting.transaction.id, NOW, "")
    assert made.parties == {ADA.user_id, BOB.user_id}
    assert (made.payer.wallet_id, made.target) == (ADA.id, TargetWallet(BOB.id, BOB.user_id))
    assert book.changed.events == [TransferCompleted(made)]


def test_a_target_is_found_by_its_wallet_or_its_user_who_may_have_none_yet() -> None:
    book = rich()
    book.loaded.rows[TargetWallet][BOB.id] = TargetWallet(BOB.id, BOB.user_id)
    assert transfer(book, 1, Target(wallet_id=BOB.id)).target == TargetWallet(BOB.id, BOB.user_id)
    opened = transfer(book, 2, Target(user_id=NEW.user_id)).target
    assert book.changed.owners[NEW.user_id].id == opened.id
    assert book.account(AccountKey.wallet(opened.id, "AZR")).posted_minor == 2


@pytest.mark.parametrize(
    ("minor", "target", "refusal"),
    [
        (1, Target(user_id=ADA.user_id), SelfTransfer),
        (1, Target(wallet_id=ADA.id), SelfTransfer),
        (1, Target(wallet_id=NEW.id), TargetWalletNotFound),
        (1001, Target(user_id=BOB.user_id), InsufficientFunds),
        (INT64_MAX, Target(user_id=NEW.user_id), InsufficientFunds),
    ],
)
def test_a_refused_transfer_has_changed_nothing(minor: int, target: Target, refusal: type[DomainError]) -> None:
    book = rich()
    book.loaded.rows[TargetWallet][ADA.id] = TargetWallet(ADA.id, ADA.user_id)
    with pytest.raises(refusal):
        transfer(book, minor, target)
    assert untouched(book)


def test_a_balance_beyond_64_bits_and_a_wallet_that_is_not_active_are_refused() -> None:
    with pytest.raises(AmountOverflow):
        transfer(rich(bob=INT64_MAX), 1)
    frozen = book_of(purse(ADA, 5, state=AccountState.FROZEN), owners=[ADA, BOB])
    with pytest.raises(WalletFrozen):
        transfer(frozen, 1)
    to_frozen = book_of(purse(ADA, 5), purse(BOB, 0, state=AccountState.FROZEN), owners=[ADA, BOB])
    transfer(to_frozen, 1)


def test_a_stranger_without_a_wallet_has_nothing_to_transfer() -> None:
    book = book_of(owners=[BOB])
    with pytest.raises(InsufficientFunds):
        transfer(book, 1)


def batch(
    book: Book, *orders: TransferOrder, partial: bool = False, conditions: Conditions | None = None
) -> list[Transfer | DomainError]:
    command = BatchCreateTransfers(ADA.user_id, orders, conditions or Conditions(), LIMITS, partial)
    return list(book.attempt(command.decide).results)


def test_a_batch_posts_each_transfer_by_itself_under_one_source() -> None:
    book = rich()
    made = batch(book, order(1), order(2), order(3, Target(user_id=NEW.user_id)))
    assert [posting.transaction.id for posting in book.changed.postings] == [
        each.id for each in made if isinstance(each, Transfer)
    ]
    sources = {(posting.transaction.source_kind, posting.transaction.source_id) for posting in book.changed.postings}
    (source,) = sources
    assert source == (SourceKind.TRANSFER_BATCH, made[0].batch_id if isinstance(made[0], Transfer) else "")
    assert book.account(PURSE).posted_minor == 994
    assert len(book.changed.events) == 3


def test_a_batch_is_all_or_none() -> None:
    book = rich()
    with pytest.raises(InsufficientFunds) as refused:
        batch(book, order(600), order(500, Target(user_id=NEW.user_id)), order(1))
    assert refused.value.metadata == {"currency": "AZR", "index": "1"}
    assert untouched(book)


def test_a_batch_gives_each_transfer_its_own_verdict_if_asked_to() -> None:
    book = rich()
    results = batch(
        book, order(600), order(500), order(1, Target(user_id=ADA.user_id)), order(400), order(1), partial=True
    )
    reasons = [result.reason if isinstance(result, DomainError) else "OK" for result in results]
    assert reasons == ["OK", "INSUFFICIENT_FUNDS", "SELF_TRANSFER", "OK", "INSUFFICIENT_FUNDS"]
    assert (book.account(PURSE).posted_minor, book.account(OTHER).posted_minor) == (0, 1000)
    assert len(book.changed.postings) == len(book.changed.events) == 2


def test_velocity_counts_amounts_up_to_its_limit_and_starts_again_with_a_window() -> None:
    book = rich(100_000)
    transfer(book, 600)
    transfer(book, 400)
    assert book.account(PURSE).velocity == Velocity(NOW, 1000, 2)
    with pytest.raises(VelocityExceeded) as refused:
        transfer(book, 1)
    assert refused.value.metadata == {"currency": "AZR", "maxDebitMinorUnits": "1000", "maxDebits": "5"}
    assert refused.value.retry_after_seconds == DAY.total_seconds()

    account = book.account(PURSE)
    later = book_of(account, purse(BOB, 0), owners=[ADA, BOB], now=NOW + DAY - timedelta(seconds=1))
    with pytest.raises(VelocityExceeded) as refused:
        transfer(later, 1)
    assert refused.value.retry_after_seconds == 1
    next_day = book_of(account, purse(BOB, 0), owners=[ADA, BOB], now=NOW + DAY)
    transfer(next_day, 1000)
    assert next_day.account(PURSE).velocity == Velocity(NOW + DAY, 1000, 1)


def test_velocity_counts_debits_too() -> None:
    book = rich()
    for _ in range(5):
        transfer(book, 1)
    with pytest.raises(VelocityExceeded):
        transfer(book, 1)
    assert book.account(PURSE).velocity.count == 5


def test_to_wait_does_not_help_an_amount_above_the_limit_by_itself() -> None:
    with pytest.raises(VelocityExceeded) as refused:
        transfer(rich(100_000), 1001)
    assert refused.value.retry_after_seconds is None


def test_payments_and_holds_of_the_owner_count_and_what_nobody_may_refuse_does_not() -> None:
    book = rich(100_000)
    terms = Terms(limits=VELOCITY)
    bread = Order(PaymentType.DONATION, Money(300))
    book.attempt(CreatePayment(ADA.user_id, "", bread, DAY, terms).decide)
    book.attempt(CreateHold(ADA.user_id, "", bread, DAY, terms).decide)
    book.attempt(CreateHold(ADA.user_id, "education", bread, DAY).decide)
    book.attempt(Earn(Earning(ADA.user_id, Money(50), "r", ""), "education").decide)
    transfer(book, 400)
    assert book.account(PURSE).velocity == Velocity(NOW, 1000, 3)
    for command in (
        CreatePayment(ADA.user_id, "", bread, DAY, terms),
        CreateHold(ADA.user_id, "", bread, DAY, terms),
    ):
        with pytest.raises(VelocityExceeded):
            book.attempt(command.decide)
    assert book.account(PURSE).velocity == Velocity(NOW, 1000, 3)


def test_limits_are_in_whole_units_of_each_currency_and_never_beyond_what_is_stored() -> None:
    assert [VELOCITY.max_minor(currency) for currency in ("AZR", "JPY", "KWD")] == [1000, 10, 10_000]
    assert replace(VELOCITY, max_amount=10**30).max_minor("AZR") == INT64_MAX


@pytest.mark.parametrize(
    ("age", "spent", "allowed"),
    [
        (timedelta(0), 200, True),
        (timedelta(0), 201, False),
        (7 * DAY - timedelta(seconds=1), 201, False),
        (7 * DAY, 201, True),
    ],
)
def test_a_new_wallet_transfers_less(age: timedelta, spent: int, *, allowed: bool) -> None:
    owner = replace(ADA, create_time=NOW - age)
    limits = replace(LIMITS, new_wallet_max_amount=2)
    book = book_of(purse(ADA, 1000), purse(BOB, 0), owners=[owner, BOB])
    if allowed:
        transfer(book, spent, limits=limits)
    else:
        with pytest.raises(VelocityExceeded):
            transfer(book, spent, limits=limits)
        paid = CreatePayment(ADA.user_id, "", Order(PaymentType.DONATION, Money(spent)), DAY, Terms(limits=VELOCITY))
        book.attempt(paid.decide)


def test_a_debit_can_depend_on_what_is_left_and_on_what_was_read() -> None:
    book = rich()
    etag = book.account(PURSE).etag
    least = Conditions(minimum_available_after=Money(900), etag=etag)
    with pytest.raises(MinimumAvailableNotMet):
        transfer(book, 101, conditions=least)
    with pytest.raises(CurrencyMismatch) as mismatch:
        transfer(book, 1, conditions=Conditions(minimum_available_after=Money(0, "ZAR")))
    assert mismatch.value.metadata == {"currency": "AZR"}
    transfer(book, 100, conditions=least)
    with pytest.raises(EtagMismatch):
        transfer(book, 1, conditions=Conditions(etag=etag))
    with pytest.raises(EtagMismatch):
        transfer(book, 10_000, conditions=Conditions(etag=etag))


def test_a_batch_depends_on_the_balance_before_it_and_after_each_transfer() -> None:
    book = rich()
    least = Conditions(minimum_available_after=Money(900), etag=book.account(PURSE).etag)
    with pytest.raises(MinimumAvailableNotMet) as refused:
        batch(book, order(60), order(41), conditions=least)
    assert refused.value.metadata == {"currency": "AZR", "index": "1"}
    assert untouched(book)
    results = batch(book, order(60), order(41), order(40), partial=True, conditions=least)
    assert [type(result) for result in results] == [Transfer, MinimumAvailableNotMet, Transfer]
    for partial in (False, True):
        with pytest.raises(EtagMismatch):
            batch(book, order(1, Target(user_id=ADA.user_id)), order(1), partial=partial, conditions=least)
    assert book.account(PURSE).posted_minor == 900


def test_a_hold_changes_the_etag_and_counts_as_a_debit_for_the_minimum() -> None:
    book = rich()
    etag = book.account(PURSE).etag
    bread = Order(PaymentType.DONATION, Money(300))
    least = Terms(Conditions(minimum_available_after=Money(701)))
    with pytest.raises(MinimumAvailableNotMet):
        book.attempt(CreateHold(ADA.user_id, "", bread, DAY, least).decide)
    book.attempt(CreateHold(ADA.user_id, "", bread, DAY, Terms(Conditions(Money(700)))).decide)
    with pytest.raises(EtagMismatch):
        transfer(book, 1, conditions=Conditions(etag=etag))


def test_a_quote_changes_nothing() -> None:
    book = rich()
    command = CreateTransfer(ADA.user_id, order(5, Target(user_id=NEW.user_id)), Conditions(), LIMITS)
    assert book.quote(command.decide).amount == Money(5)
    assert untouched(book)
