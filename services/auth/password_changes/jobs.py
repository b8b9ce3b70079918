"""Background work of password changes: mailing reset links."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from services.auth.password_changes.model import SendPasswordReset
from services.shared.jobs import Job
from services.shared.retention import Retention

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.password_changes.operations import PasswordChangeOperations


def jobs(password_changes: PasswordChangeOperations) -> Sequence[Job[Any]]:
    """Return the jobs of password changes."""
    return [Job(SendPasswordReset, password_changes.send_password_reset)]


def retentions() -> Sequence[Retention]:
    """Return the retention of links, which are of no use once they have expired."""
    return [Retention("email_links", "expire_time", timedelta(0))]
