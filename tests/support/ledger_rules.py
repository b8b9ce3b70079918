"""Rules by which Hypothesis drives a ledger, the pure book or the service, against a model too simple to be wrong."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from services.payment.errors import (
    CaptureExceedsHold,
    EtagMismatch,
    HoldExpired,
    HoldNotActive,
    InsufficientFunds,
    MinimumAvailableNotMet,
    ReferenceUsed,
    RefundExceedsPayment,
    SelfTransfer,
    WalletClosed,
    WalletFrozen,
    WalletNotEmpty,
)
from services.payment.holds.commands import CreateHold, ReleaseHold
from services.payment.holds.model import Order, PaymentType
from services.payment.ledger.debits import Conditions
from services.payment.ledger.model import AccountState
from services.payment.payments.commands import CaptureHold, CreatePayment, Earn, ReserveRefund
from services.payment.payments.model import Earning, Refund
from services.payment.transfers.commands import BatchCreateTransfers, CreateTransfer
from services.payment.transfers.model import Target, TransferOrder
from services.payment.wallets.commands import ChangeWalletState, CloseWallet
from services.shared.ids import new_id
from services.shared.money import Money
from tests.support.books import UNLIMITED

if TYPE_CHECKING:
    from services.payment.ledger.book import Command
    from services.shared.errors import DomainError

WINDOW = timedelta(days=14)
AMOUNTS = st.integers(1, 1000)
PAIRS = st.tuples(st.integers(0, 2), st.integers(0, 2))


class Refusal(Exception):
    """A command was refused."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass
class HeldModel:
    """A hold, as the model knows it."""

    user: str
    amount: int
    expires: int
    """In seconds."""
    state: str = "ACTIVE"


class LedgerRules(RuleBasedStateMachine):
    """A ledger, and beside it each user's balance, holds, payments and state as plain values."""

    holds = Bundle("holds")
    payments = Bundle("payments")

    def __init__(self) -> None:
        super().__init__()
        self.users = [new_id() for _ in range(3)]
        self.references = new_id()
        self.seconds = 0
        self.balances = dict.fromkeys(self.users, 0)
        self.entries = dict.fromkeys(self.users, 0)
        self.states = dict.fromkeys(self.users, AccountState.ACTIVE)
        self.read: dict[str, tuple[str, tuple[int, int]]] = {}
        """ETag of each balance as it was read, and what it was the ETag of."""
        self.held: dict[str, HeldModel] = {}
        self.left: dict[str, tuple[str, int]] = {}
        """What is left of each payment, and whose it is."""
        self.earned: dict[str, tuple[str, int]] = {}
        self.calls = 0

    @abstractmethod
    def run(self, command: Command[Any]) -> Any:
        """Have the ledger run a command. Raises its refusal."""

    @abstractmethod
    def pass_time(self, seconds: int) -> None:
        """Let time pass."""

    @abstractmethod
    def balance(self, user: str) -> tuple[int, int]:
        """Return what is posted and available, as the ledger has it."""

    @abstractmethod
    def wallet(self, user: str) -> tuple[str, str]:
        """Return the ID of an opened wallet and the ETag of its balance."""

    def decide(self, command: Command[Any], refusal: type[DomainError] | None) -> Any:
        """Run a command, and hold its verdict against the model's."""
        if refusal is None:
            return self.run(command)
        with pytest.raises(Refusal) as refused:
            self.run(command)
        assert refused.value.reason == refusal.reason
        return None

    def available(self, user: str) -> int:
        """Return what the model lets a user spend."""
        return self.balances[user] - self.held_of(user)

    def held_of(self, user: str) -> int:
        """Return what the model holds of a user's balance."""
        active = (hold for hold in self.held.values() if hold.user == user and hold.state == "ACTIVE")
        return sum(hold.amount for hold in active)

    def post(self, user: str, amount: int) -> None:
        """Add an entry to a user's balance in the model."""
        self.balances[user] += amount
        self.entries[user] += 1

    def refused_debit(self, user: str, amount: int, *, sent: int = 0) -> type[DomainError] | None:
        """Return why a user cannot spend an amount beside what they have `sent`."""
        if self.states[user] is not AccountState.ACTIVE:
            return WalletClosed if self.states[user] is AccountState.CLOSED else WalletFrozen
        return InsufficientFunds if amount > self.available(user) - sent else None

    def refused_transfer(self, user: str, target: str, amount: int, *, sent: int = 0) -> type[DomainError] | None:
        """Return why a user cannot transfer an amount beside what they have `sent`."""
        if user == target:
            return SelfTransfer
        refusal = self.refused_debit(user, amount, sent=sent)
        return refusal or (WalletClosed if self.states[target] is AccountState.CLOSED else None)

    @rule(seconds=st.integers(1, 40))
    def wait(self, seconds: int) -> None:
        """Let time pass: what is held until then expires."""
        self.pass_time(seconds)
        self.seconds += seconds
        for hold in self.held.values():
            if hold.state == "ACTIVE" and hold.expires <= self.seconds:
                hold.state = "EXPIRED"

    @rule(number=st.integers(0, 2), amount=AMOUNTS, reference=st.sampled_from("abcdefgh"))
    def earn(self, number: int, amount: int, reference: str) -> None:
        """Earn, once for a reference."""
        user = self.users[number]
        known = self.earned.get(reference)
        refusal: type[DomainError] | None = ReferenceUsed if known not in (None, (user, amount)) else None
        if known is None and self.states[user] is AccountState.CLOSED:
            refusal = WalletClosed
        self.decide(Earn(Earning(user, Money(amount), f"{self.references}{reference}", ""), "education"), refusal)
        if known is None and not refusal:
            self.earned[reference] = user, amount
            self.post(user, amount)

    @rule(target=payments, number=st.integers(0, 2), amount=AMOUNTS, kind=st.sampled_from(PaymentType))
    def pay(self, number: int, amount: int, kind: PaymentType) -> str:
        """Pay."""
        user = self.users[number]
        refusal = self.refused_debit(user, amount)
        paid = self.decide(CreatePayment(user, "", Order(kind, Money(amount)), WINDOW), refusal)
        if refusal:
            return ""
        self.post(user, -amount)
        payment_id: str = paid.id
        self.left[payment_id] = user, amount
        return payment_id

    @rule(target=holds, number=st.integers(0, 2), amount=AMOUNTS, seconds=st.integers(1, 60))
    def hold(self, number: int, amount: int, seconds: int) -> str:
        """Hold."""
        user = self.users[number]
        refusal = self.refused_debit(user, amount)
        order = Order(PaymentType.DONATION, Money(amount))
        made = self.decide(CreateHold(user, "", order, timedelta(seconds=seconds)), refusal)
        if refusal:
            return ""
        hold_id: str = made.id
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
        self.post(hold.user, -amount)
        payment_id: str = captured[1].id
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
            refusal: type[DomainError] | None = RefundExceedsPayment if amount > left else None
            if not refusal and self.states[user] is AccountState.CLOSED:
                refusal = WalletClosed
            digest = self.calls.to_bytes(32)
            command = ReserveRefund(payment_id, Money(amount), "", user, True, digest, WINDOW)
            self.decide(command, refusal)
            if not refusal:
                self.left[payment_id] = user, left - amount
                self.post(user, amount)

    @rule(numbers=PAIRS, amounts=st.lists(AMOUNTS, min_size=1, max_size=3), partial=st.booleans())
    def transfer_to_many(self, numbers: tuple[int, int], amounts: list[int], *, partial: bool) -> None:
        """Transfer in a batch, which may be all or none."""
        user, target = (self.users[number] for number in numbers)
        orders = tuple(TransferOrder(Target(user_id=target), Money(amount)) for amount in amounts)
        sent: list[int] = []
        refusal: type[DomainError] | None = None
        for amount in amounts:
            refused = self.refused_transfer(user, target, amount, sent=sum(sent))
            if refused is None:
                sent.append(amount)
            elif not partial:
                refusal, sent = refused, []
                break
        self.decide(BatchCreateTransfers(user, orders, Conditions(), UNLIMITED, partial), refusal)
        for amount in sent:
            self.post(user, -amount)
            self.post(target, amount)

    @rule(number=st.integers(0, 2))
    def read_etag(self, number: int) -> None:
        """Read the ETag of a balance, for a transfer later."""
        user = self.users[number]
        if self.entries[user]:
            self.read[user] = self.wallet(user)[1], (self.entries[user], self.held_of(user))

    @rule(numbers=PAIRS, amount=st.none() | AMOUNTS, above=st.sampled_from((None, -1, 0, 1)), since_read=st.booleans())
    def transfer(self, numbers: tuple[int, int], amount: int | None, above: int | None, *, since_read: bool) -> None:
        """Transfer an amount, or all that is available, if nothing has changed since it was read.

        A minimum is `above` what will be available.
        """
        user, target = (self.users[number] for number in numbers)
        amount = amount or max(1, self.available(user))
        etag, stood = self.read.get(user, ("", (0, 0))) if since_read else ("", (0, 0))
        refusal = self.refused_transfer(user, target, amount)
        if refusal is not SelfTransfer and etag and stood != (self.entries[user], self.held_of(user)):
            refusal = EtagMismatch
        after = self.available(user) - amount
        minimum = None if above is None else Money(max(0, after + above))
        if not refusal and minimum is not None and after < minimum.amount_minor:
            refusal = MinimumAvailableNotMet
        conditions = Conditions(minimum, etag)
        order = TransferOrder(Target(user_id=target), Money(amount))
        self.decide(CreateTransfer(user, order, conditions, UNLIMITED), refusal)
        if not refusal:
            self.post(user, -amount)
            self.post(target, amount)

    @rule(numbers=PAIRS, state=st.sampled_from(AccountState), emptied=st.booleans())
    def change_state(self, numbers: tuple[int, int], state: AccountState, *, emptied: bool) -> None:
        """Freeze, unfreeze or close a wallet, which may be emptied before."""
        user = self.users[numbers[0]]
        if not self.entries[user]:
            return
        if state is AccountState.CLOSED and emptied:
            self.transfer(numbers, None, None, since_read=False)
        wallet_id, _ = self.wallet(user)
        refusal: type[DomainError] | None = None
        if self.states[user] is AccountState.CLOSED and state is not AccountState.CLOSED:
            refusal = WalletClosed
        elif state is AccountState.CLOSED and self.balances[user]:
            refusal = WalletNotEmpty
        if state is AccountState.CLOSED:
            self.decide(CloseWallet(wallet_id, state, new_id(), "why", "", Refund), refusal)
        else:
            self.decide(ChangeWalletState(wallet_id, state, new_id(), "why", ""), refusal)
        self.states[user] = self.states[user] if refusal else state

    @invariant()
    def everyone_has_what_the_model_says(self) -> None:
        """Balances and what is available agree."""
        for user in self.users:
            assert self.balance(user) == (self.balances[user], self.available(user))
