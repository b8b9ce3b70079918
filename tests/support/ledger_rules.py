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
    HoldExpired,
    HoldNotActive,
    InsufficientFunds,
    ReferenceUsed,
    RefundExceedsPayment,
)
from services.payment.holds.commands import CreateHold, ReleaseHold
from services.payment.holds.model import Order, PaymentType
from services.payment.payments.commands import CaptureHold, CreatePayment, Earn, ReserveRefund
from services.payment.payments.model import Earning
from services.shared.ids import new_id
from services.shared.money import Money

if TYPE_CHECKING:
    from services.payment.ledger.book import Command
    from services.shared.errors import DomainError

WINDOW = timedelta(days=14)
AMOUNTS = st.integers(1, 1000)


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
    """A ledger, and beside it each user's balance, holds and payments as plain numbers."""

    holds = Bundle("holds")
    payments = Bundle("payments")

    def __init__(self) -> None:
        super().__init__()
        self.users = [new_id() for _ in range(3)]
        self.references = new_id()
        self.seconds = 0
        self.balances = dict.fromkeys(self.users, 0)
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
        active = (hold for hold in self.held.values() if hold.user == user and hold.state == "ACTIVE")
        return self.balances[user] - sum(hold.amount for hold in active)

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
        refusal = ReferenceUsed if known not in (None, (user, amount)) else None
        self.decide(Earn(Earning(user, Money(amount), f"{self.references}{reference}", ""), "education"), refusal)
        if known is None:
            self.earned[reference] = user, amount
            self.balances[user] += amount

    @rule(target=payments, number=st.integers(0, 2), amount=AMOUNTS, kind=st.sampled_from(PaymentType))
    def pay(self, number: int, amount: int, kind: PaymentType) -> str:
        """Pay."""
        user = self.users[number]
        refusal = InsufficientFunds if amount > self.available(user) else None
        paid = self.decide(CreatePayment(user, "", Order(kind, Money(amount)), WINDOW), refusal)
        if refusal:
            return ""
        self.balances[user] -= amount
        payment_id: str = paid.id
        self.left[payment_id] = user, amount
        return payment_id

    @rule(target=holds, number=st.integers(0, 2), amount=AMOUNTS, seconds=st.integers(1, 60))
    def hold(self, number: int, amount: int, seconds: int) -> str:
        """Hold."""
        user = self.users[number]
        refusal = InsufficientFunds if amount > self.available(user) else None
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
        self.balances[hold.user] -= amount
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
            refusal = RefundExceedsPayment if amount > left else None
            digest = self.calls.to_bytes(32)
            command = ReserveRefund(payment_id, Money(amount), "", user, True, digest, WINDOW)
            self.decide(command, refusal)
            if not refusal:
                self.left[payment_id] = user, left - amount
                self.balances[user] += amount

    @invariant()
    def everyone_has_what_the_model_says(self) -> None:
        """Balances and what is available agree."""
        for user in self.users:
            assert self.balance(user) == (self.balances[user], self.available(user))
