"""Wallet operations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.payment.wallets.model import Balance, Wallet
from services.shared.money import EARNED_TOKEN, check_currency

if TYPE_CHECKING:
    from services.payment.wallets.model import Movement
    from services.payment.wallets.store import WalletStore
    from services.shared.db import Database
    from services.shared.pagination import Page, PageTokens
    from services.shared.principal import Principal


class WalletOperations:
    """Reads wallets and their transactions."""

    def __init__(self, *, database: Database, store: WalletStore, pages: PageTokens) -> None:
        self._database = database
        self._store = store
        self._pages = pages

    async def get_wallet(self, *, principal: Principal) -> Wallet:
        """Return the caller's wallet; AZR stands first among its balances, always."""
        async with self._database.reading() as connection:
            wallet = await self._store.find_wallet(connection, principal.user_id)
        earned = [balance for balance in wallet.balances if balance.currency == EARNED_TOKEN]
        others = [balance for balance in wallet.balances if balance.currency != EARNED_TOKEN]
        return replace(wallet, balances=(*(earned or [Balance(EARNED_TOKEN)]), *others))

    async def list_transactions(
        self, *, principal: Principal, currency: str, page_size: int, page_token: str
    ) -> Page[Movement]:
        """Return a page of the caller's movements, newest first. Raises CurrencyUnknown, PageTokenInvalid.

        The wallet's own sequence is the order: what is booked meanwhile neither repeats nor hides anything.
        """
        check_currency(currency)
        bound_to = {"method": "ListTransactions", "user": principal.user_id, "currency": currency}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        async with self._database.reading() as connection:
            found = await self._store.list_movements(connection, request, principal.user_id, currency)
        return request.page(found, lambda movement: [movement.sequence])
