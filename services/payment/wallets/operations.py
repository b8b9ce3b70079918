"""Wallet operations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.payment.wallets.model import Balance, Wallet
from services.shared.money import EARNED_TOKEN

if TYPE_CHECKING:
    from services.payment.wallets.store import WalletStore
    from services.shared.db import Database
    from services.shared.principal import Principal


class WalletOperations:
    """Reads wallets."""

    def __init__(self, *, database: Database, store: WalletStore) -> None:
        self._database = database
        self._store = store

    async def get_wallet(self, *, principal: Principal) -> Wallet:
        """Return the caller's wallet; AZR stands first among its balances, always."""
        async with self._database.reading() as connection:
            wallet = await self._store.find_wallet(connection, principal.user_id)
        earned = [balance for balance in wallet.balances if balance.currency == EARNED_TOKEN]
        others = [balance for balance in wallet.balances if balance.currency != EARNED_TOKEN]
        return replace(wallet, balances=(*(earned or [Balance(EARNED_TOKEN)]), *others))
