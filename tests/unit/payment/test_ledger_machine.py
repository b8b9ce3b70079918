"""Any sequence of commands, in groups of any size, against a model that is too simple to be wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from services.payment.errors import (
    CaptureExceedsHold,
    HoldExpired,
    HoldNotActive,
    InsufficientFunds,
    ReferenceUsed,
    RefundExceedsPayment,
    SelfTransfer,
)
from services.payment.holds.commands import CreateHold, ReleaseHold
from services.payment.holds.model import Hold, HoldState, Order, PaymentType
from services.payment.ledger import chain
from services.payment.ledger.book import Book, Changes
from services.payment.ledger.debits import Conditions, VelocityLimits
from services.payment.ledger.model import GENESIS, AccountKey, AccountKind, Leg, Posting
from services.payment.payments.commands import CaptureHold, CreatePayment, Earn, ReserveRefund
from services.payment.payments.model import Earning
from services.payment.transfers.commands import BatchCreateTransfers, TransferLimits
from services.payment.transfers.model import Target, TransferOrder
from services.shared.money import Money
from tests.support.books import NOW, numbered_ids, wallet

if TYPE_CHECKING:
    from services.payment.ledger.book import Command
    from services.shared.errors import DomainError

USERS = [wallet(number).user_id for number in (1, 2, 3)]
WINDOW = timedelta(days=14)
UNLIMITED = TransferLimits(VelocityLimits(WINDOW, max_amount=10**9, max_count=10**9), new_wallet_age=WINDOW)
AMOUNTS = st.integers(1, 1000)
users = st.sampled_from(USERS)


@dataclass
class HeldModel:
    """A hold, as the model knows it."""

    user: str
    amount: int
    expires: int
    """In seconds."""
    state: str = "ACTIVE"


class LedgerMachine(RuleBasedStateMachine):
    """The book, and beside it each user's balance, holds and payments as plain numbers."""

    holds = Bundle("holds")
    payments = Bundle("payments")

    def __init__(self) -> None:
        super().__init__()
        self.new_id = numbered_ids()
        self.stored = Changes()
        self.seconds = 0
        self.book = self.begin()
        self.balances = dict.fromkeys(USERS, 0)
        self.held: dict[str, HeldModel] = {}
        self.left: dict[str, tuple[str, int]] = {}
        """What is left of each payment, and whose it is."""
        self.earned: dict[str, tuple[str, int]] = {}
        self.calls = 0

    def begin(self) -> Book:
        """Begin a group: what has expired by now is released."""
        now = NOW + timedelta(seconds=self.seconds)
        holds = self.stored.rows[Hold].values()
        expired = [hold for hold in holds if hold.state is HoldState.ACTIVE and hold.expire_time <= now]
        stripe = self.seconds % 2
        return Book(
            self.stored, now=now, new_id=self.new_id, new_salt=lambda: bytes(16), stripe=stripe, expired=expired
        )

    def decide(self, command: Command[object], refusal: type[DomainError] | None) -> object:
        """Run a command, and hold its verdict against the model's."""
        if refusal is None:
            return self.book.attempt(command.decide)
        with pytest.raises(refusal):
            self.book.attempt(command.decide)
        return None

    def available(self, user: str) -> int:
        """Return what the model lets a user spend."""
        active = (hold for hold in self.held.values() if hold.user == user and hold.state == "ACTIVE")
        return self.balances[user] - sum(hold.amount for hold in active)

    @rule(seconds=st.integers(1, 40))
    def commit(self, seconds: int) -> None:
        """Commit the group and begin another one later."""
        self.stored.merge(self.book.changed)
        self.stored.accounts = {
            account_id: replace(account, opened=True) for account_id, account in self.stored.accounts.items()
        }
        self.seconds += seconds
        for hold in self.held.values():
            if hold.state == "ACTIVE" and hold.expires <= self.seconds:
                hold.state = "EXPIRED"
        self.book = self.begin()

    @rule(user=users, amount=AMOUNTS, reference=st.sampled_from("abcdefgh"))
    def earn(self, user: str, amount: int, reference: str) -> None:
        """Earn, once for a reference."""
        known = self.earned.get(reference)
        refusal = ReferenceUsed if known not in (None, (user, amount)) else None
        self.decide(Earn(Earning(user, Money(amount), reference, ""), "education"), refusal)
        if known is None:
            self.earned[reference] = user, amount
            self.balances[user] += amount

    @rule(target=payments, user=users, amount=AMOUNTS, kind=st.sampled_from(PaymentType))
    def pay(self, user: str, amount: int, kind: PaymentType) -> str:
        """Pay."""
        refusal = InsufficientFunds if amount > self.available(user) else None
        paid = self.decide(CreatePayment(user, "", Order(kind, Money(amount)), WINDOW), refusal)
        if refusal:
            return ""
        self.balances[user] -= amount
        payment_id: str = paid.id  # type: ignore[attr-defined]
        self.left[payment_id] = user, amount
        return payment_id

    @rule(user=users, target_user=users, amounts=st.lists(AMOUNTS, min_size=1, max_size=3), partial=st.booleans())
    def transfer(self, user: str, target_user: str, amounts: list[int], *, partial: bool) -> None:
        """Transfer in a batch, which may be all or none."""
        orders = tuple(TransferOrder(Target(user_id=target_user), Money(amount)) for amount in amounts)
        left, sent = self.available(user), 0
        refusal: type[DomainError] | None = None
        for amount in amounts:
            if user != target_user and amount <= left - sent:
                sent += amount
            elif not partial:
                refusal, sent = SelfTransfer if user == target_user else InsufficientFunds, 0
                break
        self.decide(BatchCreateTransfers(user, orders, Conditions(), UNLIMITED, partial), refusal)
        self.balances[user] -= sent
        self.balances[target_user] += sent

    @rule(target=holds, user=users, amount=AMOUNTS, seconds=st.integers(1, 60))
    def hold(self, user: str, amount: int, seconds: int) -> str:
        """Hold."""
        refusal = InsufficientFunds if amount > self.available(user) else None
        order = Order(PaymentType.DONATION, Money(amount))
        made = self.decide(CreateHold(user, "", order, timedelta(seconds=seconds)), refusal)
        if refusal:
            return ""
        hold_id: str = made.id  # type: ignore[attr-defined]
        self.held[hold_id] = HeldModel(user, amount, self.seconds + seconds)
        return hold_id

    @rule(target=payments, hold_id=holds, amount=AMOUNTS)
    def capture(self, hold_id: str, amount: int) -> str:
        """Capture a part of a hold."""
        hold = self.held.get(hold_id)
        if hold is None:
            return ""
        refusal: type[DomainError] | None = None
        if hold.state != "ACTIVE":
            refusal = HoldExpired if hold.state == "EXPIRED" else HoldNotActive
        elif amount > hold.amount:
            refusal = CaptureExceedsHold
        captured = self.decide(CaptureHold(hold_id, hold.user, "", Money(amount), WINDOW), refusal)
        if refusal:
            return ""
        hold.state = "CAPTURED"
        self.balances[hold.user] -= amount
        payment_id: str = captured[1].id  # type: ignore[index]
        self.left[payment_id] = hold.user, amount
        return payment_id

    @rule(hold_id=holds)
    def release(self, hold_id: str) -> None:
        """Release a hold."""
        hold = self.held.get(hold_id)
        if hold is not None:
            refusal = HoldNotActive if hold.state in ("CAPTURED", "RELEASED") else None
            self.decide(ReleaseHold(hold_id, hold.user, ""), refusal)
            hold.state = "RELEASED" if hold.state == "ACTIVE" else hold.state

    @rule(payment_id=payments, amount=AMOUNTS)
    def refund(self, payment_id: str, amount: int) -> None:
        """Refund a part of a payment."""
        if payment_id:
            self.calls += 1
            user, left = self.left[payment_id]
            refusal = RefundExceedsPayment if amount > left else None
            digest = self.calls.to_bytes(32)
            command = ReserveRefund(payment_id, Money(amount), "", user, True, digest, WINDOW)
            self.decide(command, refusal)
            if not refusal:
                self.left[payment_id] = user, left - amount
                self.balances[user] += amount

    @invariant()
    def everyone_has_what_the_model_says(self) -> None:
        """Balances and what is available agree, and money is conserved."""
        accounts = {**self.stored.accounts, **self.book.changed.accounts}
        assert sum(account.posted_minor for account in accounts.values()) == 0
        for user in USERS:
            owner = self.book.owner(user)
            if owner is not None:
                account = self.book.account(AccountKey.wallet(owner.id, "AZR"))
                assert (account.posted_minor, account.available_minor) == (self.balances[user], self.available(user))
                assert account.available_minor >= 0

    @invariant()
    def every_chain_can_be_recomputed(self) -> None:
        """Run through the entries of each account, without a gap, from nothing to its head and balance."""
        heads: dict[str, tuple[int, int, bytes]] = {}
        for posting in [*self.stored.postings, *self.book.changed.postings]:
            recompute(posting, heads)
        for account_id, account in {**self.stored.accounts, **self.book.changed.accounts}.items():
            stands = heads.get(account_id, (0, 0, GENESIS))
            assert stands == (account.sequence, account.posted_minor, account.head)


def recompute(posting: Posting, heads: dict[str, tuple[int, int, bytes]]) -> None:
    """Take a posting's entries to the ends of their accounts' chains."""
    legs = [Leg(entry.account, entry.amount_minor) for entry in posting.entries]
    assert sum(leg.amount_minor for leg in legs) == 0
    memo = chain.memo_digest(posting.salt, posting.transaction.description)
    digest = chain.transaction_digest(posting.transaction, legs, memo=memo, create_time=posting.create_time)
    for entry in posting.entries:
        sequence, balance, head = heads.get(entry.account.id, (0, 0, GENESIS))
        sequence, balance = sequence + 1, balance + entry.amount_minor
        head = chain.entry_hash(
            head,
            digest,
            account_id=entry.account.id,
            sequence=sequence,
            amount_minor=entry.amount_minor,
            balance_after_minor=balance,
        )
        assert (entry.sequence, entry.balance_after_minor, entry.hash) == (sequence, balance, head)
        assert balance >= 0 or entry.account.kind is not AccountKind.WALLET
        heads[entry.account.id] = sequence, balance, head


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, database=None)
TestLedger = LedgerMachine.TestCase
