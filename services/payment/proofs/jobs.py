"""Background work of proofs: periodic checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.shared.jobs import Periodic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.payment.proofs.operations import CheckpointOperations

CHECKPOINT_SCHEDULE = "*/10 * * * *"


def periodic(checkpoints: CheckpointOperations) -> Sequence[Periodic]:
    """Return what runs on a schedule."""

    async def checkpoint() -> None:
        await checkpoints.create_checkpoint()

    return [Periodic("checkpoint_ledger", CHECKPOINT_SCHEDULE, checkpoint)]
