"""Background work of registrations: mailing links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.auth.registrations.model import SendRegistration
from services.shared.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.registrations.operations import RegistrationOperations


def jobs(registrations: RegistrationOperations) -> Sequence[Job[Any]]:
    """Return the jobs of registrations."""
    return [Job(SendRegistration, registrations.send_registration)]
