"""Background work of mails: delivering and deleting them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from services.auth.mail.model import NOTICE_LIFETIME, DeliverMail
from services.shared.jobs import Job
from services.shared.retention import Retention

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.mail.operations import MailOperations

KEPT = timedelta(days=30)
"""Retention on a development system, where the last mails can be read."""


def jobs(mail: MailOperations) -> Sequence[Job[Any]]:
    """Return the jobs of mails."""
    return [Job(DeliverMail, mail.deliver_mail)]


def retentions(*, keep: bool) -> Sequence[Retention]:
    """Return the retention of mails, whose limit counts an hour."""
    return [Retention("mails", "create_time", KEPT if keep else 2 * NOTICE_LIFETIME)]
