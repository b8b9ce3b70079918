"""What follows from learning, once Payment answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.education.enrollments.model import CLOSE_REFUND_WINDOW, GRANT_REWARD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from services.education.enrollments.operations import EnrollmentOperations
    from services.shared.jobs import Payload


def handlers(operations: EnrollmentOperations) -> Mapping[str, Callable[[Payload], Awaitable[None]]]:
    """Return what to do for each job, by its name."""

    async def grant_reward(payload: Payload) -> None:
        await operations.grant_reward(
            enrollment_id=payload["enrollment_id"],
            user_id=payload["user_id"],
            amount_minor=payload["amount_minor"],
            course_title=payload["course_title"],
        )

    async def close_refund_window(payload: Payload) -> None:
        await operations.close_refund_window(payment_id=payload["payment_id"])

    return {GRANT_REWARD: grant_reward, CLOSE_REFUND_WINDOW: close_refund_window}
