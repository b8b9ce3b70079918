"""What is recorded in the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class Action(StrEnum):
    """What was done or attempted: the kind of its target, and a verb."""

    ACCESS_CALL = "access.call"
    """Calls of an RPC without the right to, counted per user, RPC and minute."""

    USER_CREATE = "user.create"
    """By registration, or by the command line."""
    USER_SIGN_IN = "user.sign_in"
    USER_UPDATE = "user.update"
    USER_SET_ROLE = "user.set_role"
    USER_DISABLE = "user.disable"
    USER_ENABLE = "user.enable"
    USER_UNLOCK = "user.unlock"
    USER_DELETE = "user.delete"
    """Request of the deletion, by the user or an administrator."""
    CONFIRMATION_CHECK = "confirmation.check"
    """A signed-in user's password, asked for before a change. Only failures are recorded."""
    PASSWORD_CHANGE = "password.change"  # noqa: S105 - no password
    PASSWORD_RESET = "password.reset"  # noqa: S105 - no password
    EMAIL_CHANGE = "email.change"
    EMAIL_VERIFY = "email.verify"
    EMAIL_RESTORE = "email.restore"
    MFA_ENABLE = "mfa.enable"
    MFA_DISABLE = "mfa.disable"
    RECOVERY_CODES_REPLACE = "recovery_codes.replace"
    SESSION_END = "session.end"
    """By signing out, or by revoking one of its tokens."""
    SESSION_REVOKE = "session.revoke"
    REFRESH_TOKEN_REUSE = "refresh_token.reuse"  # noqa: S105 - no password
    DEVICE_REVOKE = "device.revoke"
    API_KEY_CREATE = "api_key.create"
    API_KEY_REVOKE = "api_key.revoke"
    SIGNING_KEY_ROTATE = "signing_key.rotate"
    SIGNING_KEY_REVOKE = "signing_key.revoke"

    COURSE_PUBLISH = "course.publish"
    COURSE_ARCHIVE = "course.archive"
    COURSE_UNARCHIVE = "course.unarchive"
    CERTIFICATE_REVOKE = "certificate.revoke"

    EARNING_GRANT = "earning.grant"
    REFUND_CREATE = "refund.create"
    WALLET_FREEZE = "wallet.freeze"
    WALLET_UNFREEZE = "wallet.unfreeze"
    WALLET_CLOSE = "wallet.close"


class Outcome(StrEnum):
    """How it ended."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    """It was rejected: by its reason."""
    DENIED = "DENIED"
    """The caller has no right to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an event came from. Erasable: the event itself holds its salted digest alone."""

    salt: bytes
    address: str
    """Network address of the client."""
    user_agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One event. It holds opaque ids only: no name, address or other text of a person."""

    id: str
    action: str
    outcome: str
    """Name of an Outcome, unless somebody changed it."""
    reason: str = ""
    """ErrorInfo.reason of what failed or was denied."""
    user_id: str | None = None
    """The signed-in user, the one a service acted for, or the one whose refresh token, API key or access token was
    presented; None for the anonymous, jobs and the command line."""
    session_id: str | None = None
    """The session or API key of the user's token."""
    service: str = ""
    """The calling service; empty for calls through the edge."""
    target: str = ""
    """Resource name: "users/0190...". Of ACCESS_CALL the RPC: "azora.payment.v1.PaymentService/Earn"."""
    count: int = 1
    """How often it happened."""
    trace_id: str = ""
    """W3C trace id; empty for jobs and the command line."""
    origin_digest: bytes | None = None
    """SHA-256 of the origin's salt, address and user agent; None without an origin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An event to be recorded, with its origin."""

    event: AuditEvent
    origin: Origin | None

    @property
    def id(self) -> str:
        """The event's id."""
        return self.event.id


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event as it is stored."""

    event: AuditEvent
    create_time: datetime
    """Time of the database when it was recorded."""
    origin: Origin | None
    """None if there was none, and once it is erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events are listed; an empty field selects all."""

    user_id: str = ""
    """Of the user who did it."""
    target: str = ""
    action: str = ""
    outcome: Outcome | None = None
    start_time: datetime | None = None
    """Events of this time and later."""
    end_time: datetime | None = None
    """Events before this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPosition:
    """Position of an event in a list."""

    create_time: datetime
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """A seal of events. Each covers the one before it."""

    number: int
    first_id: str
    last_id: str
    count: int
    root: bytes
    """Root of the Merkle tree of its events, in the order of their ids."""
    previous: bytes
    """Hash of the seal before it."""
    hash: bytes
    create_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedEvent:
    """A position that a seal covers, and the event there."""

    event_id: str
    seal: int
    stored: StoredEvent | None
    """None if the event is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LooseEvent:
    """An event that no seal covers."""

    event_id: str
    recorded: bool
    """Whether it has a position, as every event that the service recorded."""
    seal: int | None
    """The seal of its position, which is missing."""


class FindingType(StrEnum):
    """What does not agree."""

    EVENT_MISSING = "EVENT_MISSING"
    EVENT_CHANGED = "EVENT_CHANGED"
    EVENT_INSERTED = "EVENT_INSERTED"
    EVENT_UNSEALED = "EVENT_UNSEALED"
    SEAL_CHANGED = "SEAL_CHANGED"
    SEAL_MISSING = "SEAL_MISSING"


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement."""

    type: FindingType
    resource: str
    """Name of what does not agree: "auditSeals/7" or "auditEvents/0190..."."""
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where verification goes on."""

    loose: bool = False
    """Whether all seals are verified, and events are looked for that none covers."""
    seal: int = 0
    """The last seal that was verified."""
    seal_hash: bytes = b""
    """The hash that this seal must have; empty unless verification begins after a seal that is known."""
    event_id: str = ""
    """The last event that was looked at, or is not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a step of verification found."""

    findings: Sequence[Finding]
    """At most 25."""
    finding_count: int
    seal_count: int
    event_count: int
    """Number of sealed events that were verified."""
    last_seal_number: int
    """0 if there is none."""
    last_seal_hash: bytes
    verified_seal_number: int = 0
    """The last seal that was verified; 0 if none was."""
    verified_seal_hash: bytes = b""
    next_page_token: str = ""
    """Empty once all is verified."""
