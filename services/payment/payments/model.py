"""Payments, their refunds, and earnings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from services.payment.ledger.model import AccountKey, AccountKind
from services.shared.money import Money

if TYPE_CHECKING:
    from datetime import datetime

    from services.payment.wallets.model import Payer


class PaymentType(StrEnum):
    """What a payment is for, and so where it goes."""

    ENROLLMENT = "ENROLLMENT"
    SUBSCRIPTION = "SUBSCRIPTION"
    DONATION = "DONATION"

    @property
    def destination(self) -> AccountKind:
        """The system account that it goes to."""
        return AccountKind.DONATIONS if self is PaymentType.DONATION else AccountKind.REVENUE


class PaymentState(StrEnum):
    """Where a payment is in its life."""

    COMPLETED = "COMPLETED"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"
    REFUNDED = "REFUNDED"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be paid, and for what."""

    type: PaymentType
    amount: Money
    description: str = ""
    course_id: str = ""
    """Empty unless it is for a course."""

    def accounts(self, payer: Payer) -> tuple[AccountKey, AccountKey]:
        """Return the account that pays and the one that is paid."""
        currency = self.amount.currency
        paid = AccountKey.system(self.type.destination, payer.wallet_id, currency)
        return AccountKey.wallet(payer.wallet_id, currency), paid


@dataclass(frozen=True, slots=True)
class Payment:
    """An order that was paid."""

    id: str
    payer: Payer
    order: Order
    refunded_minor: int
    refundable_until: datetime
    refund_window_open: bool
    """Whether `refundable_until` was still to come when this was read."""
    create_time: datetime

    @property
    def refundable(self) -> Money:
        """What has not been refunded yet."""
        return Money(self.order.amount.amount_minor - self.refunded_minor, self.order.amount.currency)

    @property
    def state(self) -> PaymentState:
        """Where it is in its life."""
        if self.refundable.amount_minor == 0:
            return PaymentState.REFUNDED
        return PaymentState.PARTIALLY_REFUNDED if self.refunded_minor else PaymentState.COMPLETED


@dataclass(frozen=True, slots=True)
class Refund:
    """What was paid back of a payment: one transaction, whose id it has."""

    id: str
    payment_id: str
    amount: Money
    reason: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class PaymentRefunded:
    """Event: a payment was refunded."""

    payment_id: str
    in_full: bool
    """Whether this refund returned all that was left of the payment."""


@dataclass(frozen=True, slots=True)
class Earning:
    """What somebody earned."""

    user_id: str
    amount: Money
    reference: str
    """What it was earned by; the same never earns twice."""
    description: str
