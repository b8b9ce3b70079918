"""Between wallets, money and time, and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import wallet_pb2, wallet_service_pb2
from azora.type.v1 import money_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.shared.money import Money

if TYPE_CHECKING:
    from datetime import datetime

    from services.payment.wallets.model import Movement, Wallet
    from services.payment.wallets.operations import MovementPage


def to_money(message: money_pb2.Money) -> Money:
    """Return an amount from its message."""
    return Money(message.minor_units, message.currency)


def money(amount: Money) -> money_pb2.Money:
    """Return an amount's message."""
    return money_pb2.Money(minor_units=amount.amount_minor, currency=amount.currency)


def time(moment: datetime) -> Timestamp:
    """Return a moment's message."""
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def transaction(movement: Movement) -> wallet_pb2.Transaction:
    """Return a movement's message."""
    return wallet_pb2.Transaction(
        id=movement.id,
        type=wallet_pb2.TransactionType.Value(f"TRANSACTION_TYPE_{movement.type}"),
        amount=money(movement.amount),
        balance_after=money(movement.balance_after),
        create_time=time(movement.create_time),
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
                )
                for balance in wallet.balances
            ],
            create_time=time(wallet.create_time) if wallet.create_time else None,
        )
    )


def list_transactions_response(page: MovementPage) -> wallet_service_pb2.ListTransactionsResponse:
    """Return the answer with a page of movements."""
    return wallet_service_pb2.ListTransactionsResponse(
        transactions=[transaction(movement) for movement in page.movements], next_page_token=page.next_page_token
    )
