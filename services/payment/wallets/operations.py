"""What people may do with their wallet, and what payments and holds need of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.payment.errors import InsufficientFunds, WalletFrozen
from services.payment.wallets.model import Balance, Movement, Payer, Wallet, WalletState
from services.shared.money import EARNED_TOKEN, INT64_MAX, check_currency

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.wallets.store import WalletStore
    from services.shared.db import Database
    from services.shared.pagination import PageTokens
    from services.shared.principal import Principal


@dataclass(frozen=True, slots=True)
class MovementPage:
    """A page of movements."""

    movements: Sequence[Movement]
    next_page_token: str
    """Empty on the last."""


class WalletOperations:
    """Reads wallets, and finds the one that is to be spent from."""

    def __init__(self, database: Database, store: WalletStore, page_tokens: PageTokens) -> None:
        self._database = database
        self._store = store
        self._page_tokens = page_tokens

    async def get_wallet(self, principal: Principal) -> Wallet:
        """Return the caller's wallet; AZR stands first among its balances, always."""
        async with self._database.reading() as connection:
            wallet = await self._store.read(connection, principal.user_id)
        earned = [balance for balance in wallet.balances if balance.currency == EARNED_TOKEN]
        others = [balance for balance in wallet.balances if balance.currency != EARNED_TOKEN]
        return replace(wallet, balances=(*(earned or [Balance(EARNED_TOKEN)]), *others))

    async def list_transactions(
        self, principal: Principal, *, currency: str, page_size: int, page_token: str
    ) -> MovementPage:
        """Return a page of the caller's movements, newest first. Raises CurrencyUnknown, PageTokenInvalid.

        The wallet's own sequence is the order: what is booked meanwhile neither repeats nor hides anything.
        """
        check_currency(currency)
        bound_to = {"method": "ListTransactions", "principal": principal.id, "currency": currency}
        page = self._page_tokens.read(page_size=page_size, page_token=page_token, bound_to=bound_to)
        (before,) = page.cursor or (INT64_MAX,)
        async with self._database.reading() as connection:
            found = await self._store.movements(
                connection, principal.user_id, currency, before=before, most=page.size + 1
            )
        shown, more = found[: page.size], len(found) > page.size
        token = self._page_tokens.write([shown[-1].sequence], bound_to=bound_to) if more else ""
        return MovementPage(shown, token)

    async def to_spend_from(self, connection: AsyncConnection, user_id: str, currency: str) -> Payer:
        """Return who pays. Raises InsufficientFunds for one that has not opened yet, WalletFrozen."""
        wallet = await self._store.find(connection, user_id)
        if not wallet.id:
            raise InsufficientFunds(metadata={"currency": currency})
        if wallet.state is WalletState.FROZEN:
            raise WalletFrozen
        return Payer(user_id, wallet.id)
