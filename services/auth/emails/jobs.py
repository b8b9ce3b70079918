"""Background work of addresses: mailing the links of changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.auth.emails.model import SendEmailChange
from services.shared.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.emails.operations import EmailOperations


def jobs(emails: EmailOperations) -> Sequence[Job[Any]]:
    """Return the jobs of addresses."""
    return [Job(SendEmailChange, emails.send_email_change)]
