"""Transfer operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.payment.errors import CurrencyMismatch, EmailNotVerified, TransferNotFound
from services.payment.transfers.commands import BatchCreateTransfers, CreateTransfer
from services.shared.money import check_currency

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.payment.ledger.debits import Conditions
    from services.payment.ledger.writer import Writer
    from services.payment.transfers.commands import TransferLimits
    from services.payment.transfers.model import Batch, Transfer, TransferOrder
    from services.payment.transfers.store import TransferStore
    from services.shared.db import Database
    from services.shared.idempotency import Idempotent, Response
    from services.shared.principal import Principal

LEDGER_READ = "PERMISSION_LEDGER_READ"


class TransferOperations:
    """Transfers between the wallets of users."""

    def __init__(
        self,
        *,
        database: Database,
        store: TransferStore,
        writer: Writer,
        limits: TransferLimits,
        require_verified_email: bool,
    ) -> None:
        self._database = database
        self._store = store
        self._writer = writer
        self._limits = limits
        self._require_verified_email = require_verified_email

    async def create_transfer(
        self,
        *,
        principal: Principal,
        order: TransferOrder,
        conditions: Conditions,
        validate_only: bool,
        idempotent: Idempotent[Transfer, Response],
    ) -> Response:
        """Transfer from the caller's wallet.

        Raises EmailNotVerified, CurrencyUnknown, CurrencyMismatch, SelfTransfer, TargetWalletNotFound,
        InsufficientFunds, WalletFrozen, WalletClosed, AmountOverflow, EtagMismatch, MinimumAvailableNotMet,
        VelocityExceeded.
        """
        self._check(principal, [order])
        command = CreateTransfer(principal.user_id, order, conditions, self._limits)
        if validate_only:
            return await self._writer.quote_answer(command, idempotent)
        return await self._writer.answer(command, idempotent)

    async def batch_create_transfers(
        self,
        *,
        principal: Principal,
        orders: Sequence[TransferOrder],
        partial: bool,
        conditions: Conditions,
        validate_only: bool,
        idempotent: Idempotent[Batch, Response],
    ) -> Response:
        """Transfer from the caller's wallet to many: all or none, or if `partial` each with its own result.

        Raises what `create_transfer` raises.
        """
        self._check(principal, orders)
        command = BatchCreateTransfers(principal.user_id, tuple(orders), conditions, self._limits, partial)
        if validate_only:
            return await self._writer.quote_answer(command, idempotent)
        return await self._writer.answer(command, idempotent)

    async def get_transfer(self, *, principal: Principal, transfer_id: str) -> Transfer:
        """Return a transfer that the caller sent or received, or to readers of the ledger any.

        Raises TransferNotFound.
        """
        async with self._database.reading() as connection:
            transfer = await self._store.find_transfer(connection, transfer_id)
        if transfer is None or not (principal.user_id in transfer.parties or principal.may(LEDGER_READ)):
            raise TransferNotFound
        return transfer

    def _check(self, principal: Principal, orders: Sequence[TransferOrder]) -> None:
        """Raise what is wrong with any transfer of these: it needs no look at the ledger."""
        if self._require_verified_email and not principal.email_verified:
            raise EmailNotVerified
        currency = orders[0].amount.currency
        check_currency(currency)
        if any(order.amount.currency != currency for order in orders):
            raise CurrencyMismatch(currency=currency)
