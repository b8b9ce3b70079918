"""Background work of password changes: mailing reset links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.auth.password_changes.model import SendPasswordReset
from services.shared.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.password_changes.operations import PasswordChangeOperations


def jobs(password_changes: PasswordChangeOperations) -> Sequence[Job[Any]]:
    """Return the jobs of password changes."""
    return [Job(SendPasswordReset, password_changes.send_password_reset)]
