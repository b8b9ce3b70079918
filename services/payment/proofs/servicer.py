"""LedgerService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import ledger_service_pb2_grpc

from services.payment.ledger.convert import trial_balance_response
from services.payment.proofs import convert

if TYPE_CHECKING:
    from azora.payment.v1 import ledger_service_pb2 as pb

    from interceptors.base import Context
    from services.payment.ledger.operations import LedgerOperations
    from services.payment.proofs.operations import CheckpointOperations, VerificationOperations


class LedgerServicer(ledger_service_pb2_grpc.LedgerServiceServicer):
    """Ledger verification."""

    def __init__(
        self,
        *,
        ledger: LedgerOperations,
        verification: VerificationOperations,
        checkpoints: CheckpointOperations,
    ) -> None:
        self._ledger = ledger
        self._verification = verification
        self._checkpoints = checkpoints

    async def TrialBalance(self, request: pb.TrialBalanceRequest, context: Context) -> pb.TrialBalanceResponse:
        return trial_balance_response(await self._ledger.trial_balance())

    async def VerifyChain(self, request: pb.VerifyChainRequest, context: Context) -> pb.VerifyChainResponse:
        verified = await self._verification.verify_chain(page_size=request.page_size, page_token=request.page_token)
        return convert.verify_chain_response(verified)

    async def ListEntries(self, request: pb.ListEntriesRequest, context: Context) -> pb.ListEntriesResponse:
        page = await self._verification.list_entries(
            account_id=request.account_id,
            transaction_id=request.transaction_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return convert.list_entries_response(page)

    async def CreateCheckpoint(
        self, request: pb.CreateCheckpointRequest, context: Context
    ) -> pb.CreateCheckpointResponse:
        return convert.create_checkpoint_response(await self._checkpoints.create_checkpoint())

    async def ListCheckpoints(self, request: pb.ListCheckpointsRequest, context: Context) -> pb.ListCheckpointsResponse:
        page = await self._checkpoints.list_checkpoints(page_size=request.page_size, page_token=request.page_token)
        return convert.list_checkpoints_response(page)

    async def ListCheckpointKeys(
        self, request: pb.ListCheckpointKeysRequest, context: Context
    ) -> pb.ListCheckpointKeysResponse:
        return convert.list_checkpoint_keys_response(await self._checkpoints.list_checkpoint_keys())
