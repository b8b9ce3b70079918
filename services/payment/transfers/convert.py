"""Conversion between transfers and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import events_pb2, transfer_pb2
from azora.payment.v1 import payment_service_pb2 as pb

from interceptors.errors import to_status
from services.payment.transfers.model import Target, Transfer, TransferOrder
from services.shared.convert import money, timestamp, to_money

if TYPE_CHECKING:
    from services.payment.transfers.model import Batch, TransferCompleted
    from services.shared.errors import DomainError


def order(request: pb.CreateTransferRequest | pb.BatchTransfer) -> TransferOrder:
    """Return what to transfer."""
    target = Target(request.target_wallet_id, request.target_user_id)
    return TransferOrder(target, to_money(request.amount), request.description)


def transfer(made: Transfer) -> transfer_pb2.Transfer:
    """Return a transfer's message."""
    return transfer_pb2.Transfer(
        id=made.id,
        user_id=made.payer.user_id,
        wallet_id=made.payer.wallet_id,
        target_user_id=made.target.user_id,
        target_wallet_id=made.target.id,
        amount=money(made.amount),
        description=made.description,
        create_time=timestamp(made.create_time),
        batch_id=made.batch_id,
    )


def transfer_result(result: Transfer | DomainError) -> transfer_pb2.TransferResult:
    """Return the message of what became of a batch's transfer."""
    if isinstance(result, Transfer):
        return transfer_pb2.TransferResult(transfer=transfer(result))
    return transfer_pb2.TransferResult(error=to_status(result))


def create_transfer_response(made: Transfer) -> pb.CreateTransferResponse:
    """Return the answer of CreateTransfer."""
    return pb.CreateTransferResponse(transfer=transfer(made))


def get_transfer_response(made: Transfer) -> pb.GetTransferResponse:
    """Return the answer of GetTransfer."""
    return pb.GetTransferResponse(transfer=transfer(made))


def batch_create_transfers_response(batch: Batch) -> pb.BatchCreateTransfersResponse:
    """Return the answer of BatchCreateTransfers."""
    return pb.BatchCreateTransfersResponse(
        results=[transfer_result(result) for result in batch.results], batch_id=batch.id
    )


def transfer_completed(event: TransferCompleted) -> events_pb2.TransferCompleted:
    """Return the event's message."""
    made = event.transfer
    return events_pb2.TransferCompleted(
        transfer_id=made.id,
        user_id=made.payer.user_id,
        target_user_id=made.target.user_id,
        amount=money(made.amount),
    )
