"""Background work of e-mail addresses: mailing links that confirm a change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.auth.email_addresses.model import SendEmailChange
from services.shared.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.email_addresses.operations import EmailAddressOperations


def jobs(email_addresses: EmailAddressOperations) -> Sequence[Job[Any]]:
    """Return the jobs of e-mail addresses."""
    return [Job(SendEmailChange, email_addresses.send_email_change)]
