"""Background work of courses: events that change what courses show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azora.auth.v1 import events_pb2

from services.education.courses import convert
from services.shared.inbox import Subscription

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.education.courses.operations import CourseOperations


def subscriptions(courses: CourseOperations) -> Sequence[Subscription[Any, Any]]:
    """Return the handlers of Auth's events."""
    return [Subscription(events_pb2.UserRenamed, convert.user_renamed, courses.user_renamed)]
