"""Mails: their kinds, states and limits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

MAX_MAILS = 3
"""Mails of a kind to an address in LIMIT_WINDOW."""
LIMIT_WINDOW = timedelta(hours=1)
NOTICE_LIFETIME = timedelta(days=1)
"""Time in which a notice is delivered or given up. A mail with a link is given up when the link expires."""
MAX_KEPT = 100
"""Mails whose text a development system keeps."""


class Kind(StrEnum):
    """Kind of mail, which is the name of its template."""

    REGISTRATION = "registration"
    """Link that completes a registration. Value: link."""
    ADDRESS_IN_USE = "address_in_use"
    """Someone registered, or changed to, the address of an existing account. Value: name, which is not shown."""
    EMAIL_VERIFICATION = "email_verification"
    """Link that verifies an account's address. Value: link."""
    EMAIL_CHANGE = "email_change"
    """Link, to the new address, that confirms a change of address. Value: link."""
    EMAIL_CHANGED = "email_changed"
    """Notice to the former address, with a link that restores it. Values: name, link, hours, new_address."""
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a name
    """Link that sets a new password. Values: name, link."""
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a name
    """Notice of a new password. Value: name."""
    MFA_ENABLED = "mfa_enabled"
    """Notice of enabled multi-factor authentication. Value: name."""
    MFA_DISABLED = "mfa_disabled"
    """Notice of disabled multi-factor authentication. Value: name."""
    API_KEY_CREATED = "api_key_created"
    """Notice of a new API key. Value: name."""
    RECOVERY_CODES_REPLACED = "recovery_codes_replaced"
    """Notice of new recovery codes. Value: name."""
    ACCOUNT_DELETED = "account_deleted"
    """Notice that the account is being deleted. Value: name."""

    ROLE_CHANGED = "role_changed"
    """Notice of another role. Value: name."""
    ACCOUNT_DISABLED = "account_disabled"
    """Notice that an administrator disabled the account. Value: name."""
    ACCOUNT_ENABLED = "account_enabled"
    """Notice that an administrator enabled the account. Value: name."""

    @property
    def expires_with_link(self) -> bool:
        """Whether the mail is useless once its link has expired."""
        return self in LINKS


LINKS = frozenset({Kind.REGISTRATION, Kind.EMAIL_VERIFICATION, Kind.EMAIL_CHANGE, Kind.PASSWORD_RESET})


class MailState(StrEnum):
    """State of a mail's delivery."""

    QUEUED = "QUEUED"
    SENT = "SENT"
    """Accepted by the SMTP server."""
    KEPT = "KEPT"
    """Not sent: a development system without an SMTP server keeps it for MailService.ListMessages."""
    REFUSED = "REFUSED"
    """Rejected by the SMTP server permanently."""
    EXPIRED = "EXPIRED"
    """Could not be sent in time."""


@dataclass(frozen=True, slots=True)
class NewMail:
    """A mail to be queued."""

    id: str
    kind: Kind
    user_id: str | None
    address_digest: bytes
    """Keyed digest of the address without regard to case, for the limit. Address and values are in the payload."""
    payload_sealed: bytes
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail whose payload was not erased."""

    id: str
    kind: Kind
    state: MailState
    payload_sealed: bytes
    create_time: datetime
    expired: bool


@dataclass(frozen=True, slots=True)
class Payload:
    """Recipient of a mail and values of its template."""

    address: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Text:
    """A rendered mail."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class MailMessage:
    """A kept mail, as administrators of a development system read it."""

    mail: Mail
    address: str
    content: Text


@dataclass(frozen=True, slots=True)
class SealedAddress:
    """An e-mail address in a job's payload."""

    id: str
    sealed: str
    """Encrypted for this id, in base64."""
    digest: str = ""
    """Keyed digest, in hexadecimal, by which the erasure of a person finds the job. Empty in jobs of older versions."""


@dataclass(frozen=True, slots=True)
class DeliverMail:
    """Job: deliver a mail."""

    mail_id: str
