"""Money set aside for an order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from services.payment.payments.model import Order
    from services.payment.wallets.model import Payer


class HoldState(StrEnum):
    """Where a hold is in its life."""

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
    """What capturing it pays for; its amount is what is set aside."""
    state: HoldState
    """As of the clock when this was read: a hold past its time is EXPIRED, whoever has or has not noticed."""
    captured_minor: int
    expire_time: datetime
    payment_id: str
    """The payment that capturing it made; empty before."""
    create_time: datetime
