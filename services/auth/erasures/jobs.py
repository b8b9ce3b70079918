"""Background work of erasures: asking the services until all have confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.auth.erasures.model import EraseAccount, EraseRemainder
from services.shared.jobs import Job, Periodic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.erasures.operations import ErasureOperations

SWEEP_SCHEDULE = "*/5 * * * *"


def jobs(erasures: ErasureOperations) -> Sequence[Job[Any]]:
    """Return the jobs of erasures."""
    return [Job(EraseAccount, erasures.erase_account), Job(EraseRemainder, erasures.erase_remainder)]


def periodic(erasures: ErasureOperations) -> Sequence[Periodic]:
    """Return what runs on a schedule."""
    return [Periodic("sweep_erasures", SWEEP_SCHEDULE, erasures.sweep_erasures)]
