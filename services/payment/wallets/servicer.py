"""WalletService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import wallet_service_pb2 as pb
from azora.payment.v1 import wallet_service_pb2_grpc

from services.payment.transactions import convert as transactions_convert
from services.payment.wallets import convert
from services.payment.wallets.operations import WALLETS_MANAGE
from services.shared.keyed import idempotent
from services.shared.money import EARNED_TOKEN
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.api.httpbody_pb2 import HttpBody

    from interceptors.base import Context
    from services.payment.transactions.operations import TransactionOperations
    from services.payment.wallets.operations import WalletOperations


class WalletServicer(wallet_service_pb2_grpc.WalletServiceServicer):
    """Wallets and their transactions."""

    def __init__(self, *, wallets: WalletOperations, transactions: TransactionOperations) -> None:
        self._wallets = wallets
        self._transactions = transactions

    async def GetWallet(self, request: pb.GetWalletRequest, context: Context) -> pb.GetWalletResponse:
        principal = current_principal()
        wallet = await self._wallets.get_wallet(
            principal=principal, wallet_id=request.wallet_id, read_time=convert.read_time(request)
        )
        return convert.get_wallet_response(wallet, with_changes=principal.may(WALLETS_MANAGE))

    async def FreezeWallet(self, request: pb.FreezeWalletRequest, context: Context) -> pb.FreezeWalletResponse:
        return await self._wallets.freeze_wallet(
            principal=current_principal(),
            wallet_id=request.wallet_id,
            reason=request.reason,
            etag=request.etag,
            idempotent=idempotent(request, pb.FreezeWalletResponse, convert.freeze_wallet_response),
        )

    async def UnfreezeWallet(self, request: pb.UnfreezeWalletRequest, context: Context) -> pb.UnfreezeWalletResponse:
        return await self._wallets.unfreeze_wallet(
            principal=current_principal(),
            wallet_id=request.wallet_id,
            reason=request.reason,
            etag=request.etag,
            idempotent=idempotent(request, pb.UnfreezeWalletResponse, convert.unfreeze_wallet_response),
        )

    async def CloseWallet(self, request: pb.CloseWalletRequest, context: Context) -> pb.CloseWalletResponse:
        return await self._wallets.close_wallet(
            principal=current_principal(),
            wallet_id=request.wallet_id,
            reason=request.reason,
            etag=request.etag,
            idempotent=idempotent(request, pb.CloseWalletResponse, convert.close_wallet_response),
        )

    async def ListTransactions(
        self, request: pb.ListTransactionsRequest, context: Context
    ) -> pb.ListTransactionsResponse:
        page = await self._transactions.list_transactions(
            principal=current_principal(),
            matching=transactions_convert.movement_filter(request),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return transactions_convert.list_transactions_response(page)

    def WatchTransactions(
        self, request: pb.WatchTransactionsRequest, context: Context
    ) -> AsyncIterator[pb.WatchTransactionsResponse]:
        watch = self._transactions.watch_transactions(
            principal=current_principal(),
            currency=request.currency or EARNED_TOKEN,
            after_sequence=transactions_convert.after_sequence(request),
        )
        return transactions_convert.watch_transactions_responses(watch)

    def ExportStatement(self, request: pb.ExportStatementRequest, context: Context) -> AsyncIterator[HttpBody]:
        export = self._transactions.export_statement(
            principal=current_principal(),
            currency=request.currency or EARNED_TOKEN,
            start_time=transactions_convert.start_time(request),
            end_time=transactions_convert.end_time(request),
        )
        return transactions_convert.statement_chunks(export, request.format)
