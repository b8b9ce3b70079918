"""Background work of mails: delivering them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.auth.mail.model import DeliverMail
from services.shared.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.mail.operations import MailOperations


def jobs(mail: MailOperations) -> Sequence[Job[Any]]:
    """Return the jobs of mails."""
    return [Job(DeliverMail, mail.deliver_mail)]
