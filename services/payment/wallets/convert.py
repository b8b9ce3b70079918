"""Conversion between wallets, their transactions and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import wallet_pb2, wallet_service_pb2

from services.shared.convert import money, timestamp

if TYPE_CHECKING:
    from services.payment.wallets.model import Movement, Wallet
    from services.shared.pagination import Page


def transaction(movement: Movement) -> wallet_pb2.Transaction:
    """Return a movement's message."""
    return wallet_pb2.Transaction(
        id=movement.id,
        type=wallet_pb2.TransactionType.Value(f"TRANSACTION_TYPE_{movement.type}"),
        amount=money(movement.amount),
        balance_after=money(movement.balance_after),
        create_time=timestamp(movement.create_time),
        description=movement.description,
        payment_id=movement.payment_id,
        reference=movement.reference,
    )


def get_wallet_response(wallet: Wallet) -> wallet_service_pb2.GetWalletResponse:
    """Return the answer with a wallet."""
    return wallet_service_pb2.GetWalletResponse(
        wallet=wallet_pb2.Wallet(
            id=wallet.id,
            state=wallet_pb2.WalletState.Value(f"WALLET_STATE_{wallet.state}"),
            balances=[
                wallet_pb2.Balance(
                    currency=balance.currency,
                    posted=balance.posted_minor,
                    held=balance.held_minor,
                    available=balance.available_minor,
                    etag=balance.etag,
                )
                for balance in wallet.balances
            ],
            create_time=timestamp(wallet.create_time),
        )
    )


def list_transactions_response(page: Page[Movement]) -> wallet_service_pb2.ListTransactionsResponse:
    """Return the answer with a page of movements."""
    return wallet_service_pb2.ListTransactionsResponse(
        transactions=[transaction(movement) for movement in page.items], next_page_token=page.next_page_token
    )
