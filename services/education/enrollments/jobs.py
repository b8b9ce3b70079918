"""Background work of enrolments: settling what a call left unpaid, releasing holds, granting rewards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.education.enrollments.model import GrantReward, ReleaseHold, SettleEnrollment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from services.education.enrollments.operations import SettlementOperations
    from services.shared.jobs import Payload


def handlers(settlements: SettlementOperations) -> Mapping[str, Callable[[Payload], Awaitable[None]]]:
    """Return what to do for each job, by its name."""

    async def settle_enrollment(payload: Payload) -> None:
        await settlements.settle_enrollment(SettleEnrollment(**payload))

    async def release_hold(payload: Payload) -> None:
        await settlements.release_hold(ReleaseHold(**payload))

    async def grant_reward(payload: Payload) -> None:
        await settlements.grant_reward(GrantReward(**payload))

    return {
        "settle_enrollment": settle_enrollment,
        "release_hold": release_hold,
        "grant_reward": grant_reward,
    }
