"""States of wallets, decided on the pure book: who may do what to which wallet, within one group as well."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from services.payment.errors import (
    EtagMismatch,
    InsufficientFunds,
    WalletClosed,
    WalletFrozen,
    WalletNotEmpty,
    WalletNotFound,
    WalletRefundPending,
)
from services.payment.holds.commands import CreateHold, ReleaseHold
from services.payment.holds.model import Hold, Order, PaymentType
from services.payment.ledger.book import Book, Changes
from services.payment.ledger.model import AccountKey, AccountState
from services.payment.payments.commands import CaptureHold, CreatePayment, DecideRefund, Earn, ReserveRefund
from services.payment.payments.model import Earning, Payment, Refund
from services.payment.wallets.commands import ChangeWalletState, CloseWallet
from services.payment.wallets.model import Balance, StateChange, Wallet, WalletStateChanged, WalletStatus
from services.shared.money import Money
from tests.support.books import NOW, numbered_ids, purse, wallet

if TYPE_CHECKING:
    from services.payment.ledger.model import Account
    from services.shared.errors import DomainError

ADA = wallet(1)
ADMIN = wallet(9).user_id
STATUS = WalletStatus(ADA.id, ADA.user_id, NOW)
WINDOW = timedelta(days=14)
ACTIVE, FROZEN, CLOSED = AccountState.ACTIVE, AccountState.FROZEN, AccountState.CLOSED


def book_with(*accounts: Account, status: WalletStatus = STATUS) -> Book:
    """Return a book with Ada's wallet and these accounts of it."""
    loaded = Changes(
        accounts={account.key.id: replace(account, state=status.state) for account in accounts},
        owners={ADA.user_id: ADA},
    )
    loaded.rows[WalletStatus][ADA.id] = status
    states = {ADA.id: status.state}
    return Book(loaded, now=NOW, new_id=numbered_ids(), new_salt=lambda: bytes(16), states=states)


def change(state: AccountState, *, etag: str = "") -> ChangeWalletState:
    """Return the command that freezes or unfreezes Ada's wallet."""
    return ChangeWalletState(ADA.id, state, ADMIN, "a complaint", etag)


def close() -> CloseWallet:
    """Return the command that closes Ada's wallet."""
    return CloseWallet(ADA.id, CLOSED, ADMIN, "she asked", "", Refund)


def pay(minor: int, *, currency: str = "AZR", creator: str = "") -> CreatePayment:
    """Return a payment of Ada's."""
    return CreatePayment(ADA.user_id, creator, Order(PaymentType.DONATION, Money(minor, currency)), WINDOW)


def hold(minor: int, *, seconds: int = 60) -> CreateHold:
    """Return a hold of Ada's."""
    return CreateHold(ADA.user_id, "", Order(PaymentType.DONATION, Money(minor)), timedelta(seconds=seconds))


def earn(minor: int, reference: str = "r", *, currency: str = "AZR") -> Earn:
    """Return an earning of Ada's."""
    return Earn(Earning(ADA.user_id, Money(minor, currency), reference, ""), "education")


def refund(payment_id: str, minor: int | None = None, *, call: int = 1) -> ReserveRefund:
    """Return a refund by an administrator."""
    amount = Money(minor) if minor else None
    return ReserveRefund(payment_id, amount, "", ADMIN, False, call.to_bytes(32), WINDOW)


def captured(book: Book, minor: int, *, creator: str = "") -> Payment:
    """Let Ada pay by a hold that somebody captures."""
    held = book.attempt(replace(hold(minor), creator=creator).decide)
    return book.attempt(CaptureHold(held.id, ADA.user_id, creator, None, WINDOW).decide)[1]


def test_a_change_of_state_is_recorded_and_published() -> None:
    book = book_with(purse(ADA, 1000))
    frozen = book.attempt(change(FROZEN).decide)
    recorded = StateChange(ADA.id, 1, FROZEN, ADMIN, "a complaint", NOW)
    assert frozen == Wallet(replace(STATUS, state=FROZEN, last_change=recorded), (Balance("AZR", 1000),))
    assert list(book.changed.rows[StateChange].values()) == [recorded]
    assert book.changed.events == [WalletStateChanged(ADA.id, ADA.user_id, FROZEN, NOW)]
    active = book.attempt(change(ACTIVE).decide)
    assert active.status is not None
    assert (active.status.state, active.status.revision) == (ACTIVE, 2)
    assert len({frozen.etag, active.etag, Wallet(STATUS, (Balance("AZR", 1000),)).etag}) == 3


def test_a_state_that_a_wallet_is_in_is_not_recorded_again() -> None:
    book = book_with(purse(ADA, 0))
    for command in (change(ACTIVE), change(FROZEN), change(FROZEN), close(), close()):
        book.attempt(command.decide)
    assert [made.state for made in book.changed.rows[StateChange].values()] == [FROZEN, CLOSED]


def test_an_unknown_wallet_is_not_found() -> None:
    book = Book(Changes(), now=NOW, new_id=numbered_ids(), new_salt=bytes)
    for command in (change(FROZEN), change(ACTIVE), close()):
        with pytest.raises(WalletNotFound):
            book.attempt(command.decide)


def test_the_time_of_changes_never_runs_back() -> None:
    later = NOW + timedelta(hours=1)
    before = StateChange(ADA.id, 7, FROZEN, ADMIN, "", later)
    book = book_with(status=replace(STATUS, state=FROZEN, last_change=before))
    active = book.attempt(change(ACTIVE).decide).status
    assert active is not None
    assert active.last_change is not None
    assert (active.last_change.sequence, active.last_change.change_time) == (8, later)


def test_a_frozen_wallet_is_credited_and_never_debited() -> None:
    book = book_with(purse(ADA, 1000))
    held, spare = book.attempt(hold(100).decide), book.attempt(hold(50).decide)
    paid = captured(book, 30)
    book.attempt(change(FROZEN).decide)
    for command in (pay(1), hold(1), pay(10_000), pay(1, currency="ZAR")):
        with pytest.raises(WalletFrozen):
            book.attempt(command.decide)
    book.attempt(CaptureHold(held.id, ADA.user_id, "", None, WINDOW).decide)
    book.attempt(ReleaseHold(spare.id, ADA.user_id, "").decide)
    book.attempt(refund(paid.id).decide)
    book.attempt(earn(5).decide)
    assert book.account(AccountKey.wallet(ADA.id, "AZR")).available_minor == 1000 - 100 + 5
    book.attempt(change(ACTIVE).decide)
    book.attempt(pay(905).decide)


def test_what_was_reserved_before_the_freeze_is_refunded_after_it() -> None:
    book = book_with(purse(ADA, 1000))
    paid = captured(book, 600, creator="education")
    reserved = book.attempt(refund(paid.id).decide)
    assert reserved.pending
    book.attempt(change(FROZEN).decide)
    book.attempt(DecideRefund(reserved.id, paid.id, "").decide)
    assert book.account(AccountKey.wallet(ADA.id, "AZR")).posted_minor == 1000


def test_a_wallet_with_a_balance_cannot_be_closed() -> None:
    rand = replace(purse(ADA, 5), key=AccountKey.wallet(ADA.id, "ZAR"))
    book = book_with(purse(ADA, 0), rand)
    with pytest.raises(WalletNotEmpty) as refused:
        book.attempt(close().decide)
    assert refused.value.metadata == {"currency": "ZAR"}
    held = book_with(purse(ADA, 10))
    held.attempt(hold(10).decide)
    with pytest.raises(WalletNotEmpty):
        held.attempt(close().decide)


def test_a_wallet_to_which_a_refund_is_pending_cannot_be_closed() -> None:
    book = book_with(purse(ADA, 600))
    paid = captured(book, 600, creator="education")
    reserved = book.attempt(refund(paid.id).decide)
    with pytest.raises(WalletRefundPending) as refused:
        book.attempt(close().decide)
    assert refused.value.metadata == {"refundId": reserved.id}
    assert not refused.value.stored
    book.attempt(DecideRefund(reserved.id, paid.id, "COURSE_COMPLETED").decide)
    book.attempt(close().decide)


@pytest.mark.parametrize("currency", ["AZR", "ZAR"])
def test_a_closed_wallet_takes_and_gives_nothing(currency: str) -> None:
    book = book_with(purse(ADA, 600))
    earned = book.attempt(earn(5, "before").decide)
    paid = captured(book, 605)
    course = book.attempt(earn(7, "more").decide) and captured(book, 7, creator="education")
    book.attempt(close().decide)
    for command in (pay(1, currency=currency), earn(1, currency=currency), hold(1), change(FROZEN), change(ACTIVE)):
        with pytest.raises(WalletClosed):
            book.attempt(command.decide)
    for payment in (paid, course):
        with pytest.raises(WalletClosed):
            book.attempt(refund(payment.id).decide)  # Education is not asked: nothing is reserved.
    assert book.attempt(earn(5, "before").decide) == earned, "what was earned before is found"


def test_a_wallet_without_accounts_is_closed_before_one_is_opened() -> None:
    book = book_with()
    book.attempt(close().decide)
    with pytest.raises(WalletClosed):
        book.attempt(earn(1).decide)
    assert not book.changed.postings


def test_a_wallet_that_is_refused_to_be_closed_is_as_it_was() -> None:
    book = book_with(purse(ADA, 600))
    with pytest.raises(WalletNotEmpty):
        book.attempt(close().decide)
    assert book.changed == Changes()
    book.attempt(pay(600).decide)
    with pytest.raises(InsufficientFunds):
        book.attempt(pay(1).decide)


def test_a_command_with_an_etag_is_for_the_wallet_that_has_it() -> None:
    book = book_with(purse(ADA, 600))
    etags = [book.attempt(change(ACTIVE).decide).etag]
    held = book.attempt(hold(5).decide)
    etags.append(book.attempt(change(ACTIVE).decide).etag)
    book.attempt(pay(1).decide)
    etags.append(book.attempt(change(ACTIVE).decide).etag)
    assert len(set(etags)) == 3
    for etag in (*etags[:2], "?"):
        with pytest.raises(EtagMismatch) as refused:
            book.attempt(change(FROZEN, etag=etag).decide)
        assert not refused.value.stored
    book.attempt(ReleaseHold(held.id, ADA.user_id, "").decide)
    book.attempt(change(FROZEN, etag=book.attempt(change(ACTIVE).decide).etag).decide)


def test_the_end_of_a_hold_is_the_time_of_its_account() -> None:
    later = NOW + timedelta(minutes=5)
    book = book_with(replace(purse(ADA, 600), post_time=later))
    held, other = book.attempt(hold(5).decide), book.attempt(hold(6).decide)
    assert (held.create_time, held.end_time, held.expire_time) == (later, None, NOW + timedelta(minutes=1))
    book.attempt(ReleaseHold(held.id, ADA.user_id, "").decide)
    book.attempt(CaptureHold(other.id, ADA.user_id, "", None, WINDOW).decide)
    assert [found.end_time for found in book.rows(Hold)] == [later, later]


@pytest.mark.parametrize(
    ("state", "refusal"), [(ACTIVE, InsufficientFunds), (FROZEN, WalletFrozen), (CLOSED, WalletClosed)]
)
def test_the_state_is_told_before_the_balance(state: AccountState, refusal: type[DomainError]) -> None:
    book = book_with(purse(ADA, 0), status=replace(STATUS, state=state))
    for command in (pay(1), hold(1), pay(1, currency="ZAR")):
        with pytest.raises(refusal):
            book.attempt(command.decide)
