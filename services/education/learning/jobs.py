"""Background work of figures: adding changes to the counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.shared.jobs import Periodic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.education.learning.operations import LearningOperations

ADD_SCHEDULE = "* * * * * */15"
"""Every 15 seconds."""


def periodic(learning: LearningOperations) -> Sequence[Periodic]:
    """Return what runs on a schedule."""
    return [Periodic("add_figure_changes", ADD_SCHEDULE, learning.add_figure_changes)]
