"""The job that ends what a call left half done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.education.enrollments.model import SETTLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from services.education.settlements.operations import SettlementOperations
    from services.shared.jobs import Payload


def handlers(operations: SettlementOperations) -> Mapping[str, Callable[[Payload], Awaitable[None]]]:
    """Return what to do for each job, by its name."""

    async def settle(payload: Payload) -> None:
        await operations.settle_attempt(enrollment_id=payload["enrollment_id"], attempt=payload["attempt"])

    return {SETTLE: settle}
