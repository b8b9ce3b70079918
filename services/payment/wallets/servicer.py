"""WalletService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import wallet_service_pb2_grpc

from services.payment.wallets import convert
from services.shared.money import EARNED_TOKEN
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from azora.payment.v1 import wallet_service_pb2 as pb

    from interceptors.base import Context
    from services.payment.wallets.operations import WalletOperations


class WalletServicer(wallet_service_pb2_grpc.WalletServiceServicer):
    """The caller's wallet and its transactions."""

    def __init__(self, operations: WalletOperations) -> None:
        self._operations = operations

    async def GetWallet(self, request: pb.GetWalletRequest, context: Context) -> pb.GetWalletResponse:
        return convert.get_wallet_response(await self._operations.get_wallet(principal=current_principal()))

    async def ListTransactions(
        self, request: pb.ListTransactionsRequest, context: Context
    ) -> pb.ListTransactionsResponse:
        page = await self._operations.list_transactions(
            principal=current_principal(),
            currency=request.currency or EARNED_TOKEN,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return convert.list_transactions_response(page)
