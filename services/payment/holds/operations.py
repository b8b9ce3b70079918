"""Hold operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.payment.holds.commands import CreateHold, ReleaseHold
from services.payment.ledger.debits import Terms
from services.shared.money import check_currency

if TYPE_CHECKING:
    from datetime import timedelta

    from services.payment.holds.model import Hold, Order
    from services.payment.ledger.debits import Conditions, VelocityLimits
    from services.payment.ledger.writer import Writer
    from services.shared.idempotency import Idempotent, Response
    from services.shared.principal import Principal


class HoldOperations:
    """Creates and releases holds of users, and of services that act for them."""

    def __init__(self, *, writer: Writer, limits: VelocityLimits) -> None:
        self._writer = writer
        self._limits = limits

    async def create_hold(
        self,
        *,
        principal: Principal,
        order: Order,
        expire_after: timedelta,
        conditions: Conditions,
        validate_only: bool,
        idempotent: Idempotent[Hold, Response],
    ) -> Response:
        """Set the order's amount aside. A user's own hold counts for velocity limits, a service's does not.

        Raises CurrencyUnknown, CurrencyMismatch, InsufficientFunds, WalletFrozen, WalletClosed, EtagMismatch,
        MinimumAvailableNotMet, VelocityExceeded.
        """
        check_currency(order.amount.currency)
        terms = Terms(conditions, None if principal.service else self._limits)
        command = CreateHold(principal.user_id, principal.service, order, expire_after, terms)
        if validate_only:
            return await self._writer.quote_answer(command, idempotent)
        return await self._writer.answer(command, idempotent)

    async def release_hold(
        self, *, principal: Principal, hold_id: str, idempotent: Idempotent[Hold, Response]
    ) -> Response:
        """Give the hold back; one that expired was given back already. Raises HoldNotFound, HoldNotActive."""
        command = ReleaseHold(hold_id, principal.user_id, principal.service)
        return await self._writer.answer(command, idempotent)
