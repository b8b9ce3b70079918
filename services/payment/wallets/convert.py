"""Conversion between wallets and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import wallet_pb2, wallet_service_pb2

from services.shared.convert import timestamp

if TYPE_CHECKING:
    from services.payment.wallets.model import Wallet


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
            create_time=timestamp(wallet.create_time),
        )
    )
