"""Orders, and money set aside for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from services.payment.ledger.model import AccountKey, AccountKind

if TYPE_CHECKING:
    from datetime import datetime

    from services.payment.wallets.model import Payer
    from services.shared.money import Money


class PaymentType(StrEnum):
    """Purpose of a payment, which determines the credited account."""

    ENROLLMENT = "ENROLLMENT"
    SUBSCRIPTION = "SUBSCRIPTION"
    DONATION = "DONATION"

    @property
    def destination(self) -> AccountKind:
        """The credited system account."""
        return AccountKind.DONATIONS if self is PaymentType.DONATION else AccountKind.REVENUE


@dataclass(frozen=True, slots=True)
class Order:
    """Amount and purpose of a payment."""

    type: PaymentType
    amount: Money
    description: str = ""
    course_id: str = ""
    """Empty unless it is for a course."""

    def source(self, payer: Payer) -> AccountKey:
        """Return the debited account."""
        return AccountKey.wallet(payer.wallet_id, self.amount.currency)


class HoldState(StrEnum):
    """State of a hold."""

    ACTIVE = "ACTIVE"
    CAPTURED = "CAPTURED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class Hold:
    """Money of a wallet, set aside until it is captured, released, or expires."""

    id: str
    payer: Payer
    order: Order
    """What a capture pays for; its amount is what is set aside."""
    creator: str
    """Name of the service that created it; empty for the wallet's owner."""
    state: HoldState
    captured_minor: int
    expire_time: datetime
    payment_id: str
    """The payment that the capture created; empty before."""
    create_time: datetime
    end_time: datetime | None = None
    """Time at which it was captured or released; None before, and if it expired."""

    @property
    def account(self) -> AccountKey:
        """The account whose balance it holds."""
        return self.order.source(self.payer)

    @property
    def held_minor(self) -> int:
        """Amount that it holds while it is active."""
        return self.order.amount.amount_minor

    def expired(self) -> Hold:
        """Return the hold after its expiry."""
        return replace(self, state=HoldState.EXPIRED)
