"""Payments, their refunds, and earnings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from services.shared.money import Money

if TYPE_CHECKING:
    from datetime import datetime

    from services.payment.holds.model import Order
    from services.payment.wallets.model import Payer

EDUCATION = "education"
"""The service whose payments buy courses."""


class PaymentState(StrEnum):
    """State of a payment."""

    COMPLETED = "COMPLETED"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"
    REFUNDED = "REFUNDED"


class RefundState(StrEnum):
    """State of a refund."""

    PENDING = "PENDING"
    COMPLETED = "COMPLETED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class Payment:
    """An order that was paid."""

    id: str
    payer: Payer
    order: Order
    creator: str
    """Name of the service whose hold it came from; empty for a payment of the payer's own."""
    refunded_minor: int
    pending_minor: int
    """Reserved by a pending refund."""
    refundable_until: datetime
    create_time: datetime
    pending_refund_id: str = ""
    """ID of the pending refund; empty if there is none."""

    @property
    def bought_course(self) -> bool:
        """Whether Education enrolled the payer for it, and so must end that before it is refunded in full."""
        return self.creator == EDUCATION

    @property
    def refundable(self) -> Money:
        """What is neither refunded nor reserved by a pending refund."""
        left = self.order.amount.amount_minor - self.refunded_minor - self.pending_minor
        return Money(left, self.order.amount.currency)

    @property
    def state(self) -> PaymentState:
        """State of the payment, by what was refunded."""
        if self.refunded_minor == self.order.amount.amount_minor:
            return PaymentState.REFUNDED
        return PaymentState.PARTIALLY_REFUNDED if self.refunded_minor else PaymentState.COMPLETED


@dataclass(frozen=True, slots=True)
class Captured:
    """The payment that a hold was captured into, found by the hold."""

    id: str
    """ID of the hold."""
    payment: Payment


@dataclass(frozen=True, slots=True)
class Refund:
    """What is, or was to be, paid back of a payment; the transaction that posts it has its id."""

    id: str
    payment_id: str
    payer_id: str
    """User ID of the payer."""
    amount: Money
    reason: str
    by_payer: bool
    """Whether the payer asked for it: what administrators refund, Education does not refuse."""
    state: RefundState
    rejection: str
    """Why Education refused it, as the reason of an error; empty otherwise."""
    create_time: datetime
    decide_time: datetime | None
    call_digest: bytes | None = None
    """Digest of the keyed call that asked for it; None for refunds of older versions."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """What else it is found by: the digest of its call, in hexadecimal digits."""
        return (self.call_digest.hex(),) if self.call_digest else ()

    @property
    def pending(self) -> bool:
        """Whether it is yet to be decided."""
        return self.state is RefundState.PENDING


@dataclass(frozen=True, slots=True)
class SettleRefund:
    """Job: bring a refund to its decision that a call left pending."""

    refund_id: str

    @property
    def once(self) -> str:
        """The name under which it is enqueued once."""
        return f"settle_refund:{self.refund_id}"


@dataclass(frozen=True, slots=True)
class PaymentSubscription:
    """That an enabled webhook takes the PaymentCompleted events of a payer."""

    id: str
    """User ID of the payer."""


@dataclass(frozen=True, slots=True)
class PaymentCompleted:
    """Event: a payment was posted."""

    payment: Payment


@dataclass(frozen=True, slots=True)
class PaymentRefunded:
    """Event: a payment was refunded, in part or in full."""

    payment_id: str
    in_full: bool
    """Whether nothing of the payment is left."""
    user_id: str = ""
    """User ID of the payer."""
    refund_id: str = ""
    amount: Money | None = None


@dataclass(frozen=True, slots=True)
class Earning:
    """What somebody earned."""

    user_id: str
    amount: Money
    reference: str
    """What it was earned by; the same never earns twice."""
    description: str
