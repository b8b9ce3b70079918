"""Background work of registrations: mailing links and deleting what has expired."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from services.auth.registrations.model import SendRegistration
from services.shared.jobs import Job
from services.shared.retention import Retention

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.registrations.operations import RegistrationOperations


def jobs(registrations: RegistrationOperations) -> Sequence[Job[Any]]:
    """Return the jobs of registrations."""
    return [Job(SendRegistration, registrations.send_registration)]


def retentions() -> Sequence[Retention]:
    """Return the retention of registrations, which are of no use once their links have expired."""
    return [Retention("pending_registrations", "expire_time", timedelta(0))]
