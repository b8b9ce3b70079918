"""LedgerService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import ledger_service_pb2_grpc

from services.payment.ledger import convert

if TYPE_CHECKING:
    from azora.payment.v1 import ledger_service_pb2 as pb

    from interceptors.base import Context
    from services.payment.ledger.operations import LedgerOperations


class LedgerServicer(ledger_service_pb2_grpc.LedgerServiceServicer):
    """Ledger verification."""

    def __init__(self, operations: LedgerOperations) -> None:
        self._operations = operations

    async def TrialBalance(self, request: pb.TrialBalanceRequest, context: Context) -> pb.TrialBalanceResponse:
        return convert.trial_balance_response(await self._operations.trial_balance())
