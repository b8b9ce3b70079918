"""Ends what an erased person has in Payment: holds, pending refunds, and the wallet with its balances."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from services.payment.errors import HoldNotActive, HoldNotFound, WalletNotEmpty, WalletRefundPending
from services.payment.holds.commands import ReleaseHold
from services.payment.wallets.commands import ForfeitWallet
from services.shared.ids import new_id
from services.shared.personal_data import ErasurePending

if TYPE_CHECKING:
    from services.payment.holds.store import HoldStore
    from services.payment.ledger.writer import Writer
    from services.payment.payments.operations import RefundOperations
    from services.payment.payments.store import PaymentStore
    from services.payment.wallets.commands import Refunding
    from services.payment.wallets.store import WalletStore
    from services.shared.db import Database

MAX_HOLDS = 200
"""Holds that one call releases at most."""


class ErasureOperations:
    """Ends what an erased person has. `kind` is the class of refunds."""

    def __init__(
        self,
        *,
        database: Database,
        writer: Writer,
        wallets: WalletStore,
        holds: HoldStore,
        payments: PaymentStore,
        refunds: RefundOperations,
        kind: type[Refunding],
    ) -> None:
        self._database = database
        self._writer = writer
        self._wallets = wallets
        self._holds = holds
        self._payments = payments
        self._refunds = refunds
        self._kind = kind

    async def end_person(self, *, user_id: str) -> None:
        """Release the person's holds, decide their refunds, move what is left to the treasury, and close the wallet.

        A person without a wallet gets a closed one: an event or a credit that arrives late would open it for good.
        Raises ErasurePending, DependencyUnavailable.
        """
        await self._database.transaction(
            lambda connection: self._wallets.insert_wallet(connection, wallet_id=new_id(), user_id=user_id)
        )
        async with self._database.reading() as connection:
            wallet = await self._wallets.find_wallet(connection, user_id=user_id)
            holds = await self._holds.list_active_holds(connection, user_id, limit=MAX_HOLDS)
            refunds = await self._payments.list_pending_refunds_of(connection, user_id)
        if wallet is None or wallet.status is None:
            raise ErasurePending("the wallet was just opened")
        for hold in holds:
            with suppress(HoldNotActive, HoldNotFound):  # It was captured or released just now.
                await self._writer.run(ReleaseHold(hold.id, user_id, hold.creator))
        for job in refunds:
            await self._refunds.settle_refund(job)
        try:
            await self._writer.run(ForfeitWallet(wallet.status.id, self._kind))
        except (WalletNotEmpty, WalletRefundPending) as error:
            raise ErasurePending("holds or refunds of the wallet are still open") from error
