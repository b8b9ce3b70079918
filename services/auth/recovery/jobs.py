"""Background work of recovery: mailing links, and deleting what has expired."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from services.auth.recovery.model import SendPasswordReset
from services.shared.jobs import Job
from services.shared.retention import Retention

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.recovery.operations import RecoveryOperations


def jobs(recovery: RecoveryOperations) -> Sequence[Job[Any]]:
    """Return the jobs of recovery."""
    return [Job(SendPasswordReset, recovery.send_password_reset)]


def retentions() -> Sequence[Retention]:
    """Return the retention of links, which are of no use once they have expired."""
    return [Retention("email_links", "expire_time", timedelta(0))]
