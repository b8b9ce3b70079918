"""Conversion between the proofs of the ledger and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import ledger_pb2
from azora.payment.v1 import ledger_service_pb2 as pb

from services.payment.proofs import note
from services.shared.convert import timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.payment.proofs.model import Checkpoint, CheckpointKey, Finding, ListedEntry, Verified
    from services.shared.pagination import Page


def verify_chain_response(verified: Verified) -> pb.VerifyChainResponse:
    """Return the answer of one step of verification."""
    return pb.VerifyChainResponse(
        findings=[finding(found) for found in verified.findings],
        finding_count=verified.finding_count,
        account_count=verified.account_count,
        entry_count=verified.entry_count,
        checkpoint_number=verified.checkpoint.number if verified.checkpoint else 0,
        next_page_token=verified.next_page_token,
    )


def list_entries_response(page: Page[ListedEntry]) -> pb.ListEntriesResponse:
    """Return a page of entries."""
    return pb.ListEntriesResponse(
        entries=[entry(listed) for listed in page.items], next_page_token=page.next_page_token
    )


def create_checkpoint_response(made: Checkpoint) -> pb.CreateCheckpointResponse:
    """Return the answer with the last checkpoint."""
    return pb.CreateCheckpointResponse(checkpoint=checkpoint(made))


def list_checkpoints_response(page: Page[Checkpoint]) -> pb.ListCheckpointsResponse:
    """Return a page of checkpoints."""
    return pb.ListCheckpointsResponse(
        checkpoints=[checkpoint(found) for found in page.items], next_page_token=page.next_page_token
    )


def list_checkpoint_keys_response(keys: Sequence[CheckpointKey]) -> pb.ListCheckpointKeysResponse:
    """Return all keys."""
    return pb.ListCheckpointKeysResponse(
        keys=[
            ledger_pb2.CheckpointKey(
                id=key.id,
                state=ledger_pb2.CheckpointKeyState.Value(f"CHECKPOINT_KEY_STATE_{key.state}"),
                verifier_key=key.verifier,
                endorsement=key.endorsement or b"",
                create_time=timestamp(key.create_time),
            )
            for key in keys
        ]
    )


def finding(found: Finding) -> ledger_pb2.Finding:
    """Return a finding's message."""
    return ledger_pb2.Finding(
        type=ledger_pb2.FindingType.Value(f"FINDING_TYPE_{found.type}"),
        resource=found.resource,
        description=found.description,
    )


def checkpoint(made: Checkpoint) -> ledger_pb2.Checkpoint:
    """Return a checkpoint's message: what its note says is left empty if it cannot be read."""
    message = ledger_pb2.Checkpoint(
        number=made.number, key_id=made.key_id, note=made.note, create_time=timestamp(made.create_time)
    )
    try:
        body = note.read(made.note)
    except note.NoteInvalid:
        return message
    message.root, message.account_count = body.root, body.size
    return message


def entry(listed: ListedEntry) -> ledger_pb2.Entry:
    """Return an entry's message."""
    stored = listed.entry
    return ledger_pb2.Entry(
        account_id=stored.account_id,
        sequence=stored.sequence,
        transaction_id=stored.transaction_id,
        currency=stored.currency,
        amount=stored.amount_minor,
        balance_after=stored.balance_after_minor,
        create_time=timestamp(stored.create_time),
        hash=stored.hash,
        account_kind=listed.account_kind,
        account_owner_id=listed.owner_id,
        transaction_type=listed.type,
        source_kind=listed.source_kind,
        source_id=listed.source_id,
        reference_owner=listed.reference_owner,
        reference=listed.reference,
        description_digest=listed.memo_digest,
    )
