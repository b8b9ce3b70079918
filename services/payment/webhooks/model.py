"""Webhooks, their deliveries, and how requests are signed and repeated."""

from __future__ import annotations

import base64
import hmac
import os
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_WEBHOOKS = 10
"""Webhooks of one owner: a user, or the platform."""
SECRET_BYTES = 32
SECRET_PREFIX = "whsec_"  # noqa: S105 - what Standard Webhooks begins secrets with
RETRY_DELAYS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""Delays before the second and each later attempt, as Standard Webhooks proposes: three days in all."""
RETRY_JITTER = 0.1
"""Fraction by which a delay is longer or shorter, by chance."""
MAX_RETRY_AFTER = timedelta(hours=24)
"""Bound on the delay that a receiver asks for."""
MAX_ATTEMPTS_KEPT = 20
SUCCESS = range(200, 300)
GONE = 410


class WebhookState(StrEnum):
    """State of a webhook."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"
    DELETED = "DELETED"
    """Gone for everybody; its deliveries are being deleted."""


class DisableReason(StrEnum):
    """Why a webhook is disabled."""

    REQUESTED = "REQUESTED"
    FAILING = "FAILING"
    GONE = "GONE"


class DeliveryState(StrEnum):
    """State of a delivery."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """What somebody asks for."""

    url: str
    event_types: tuple[str, ...]
    """Empty for all types."""
    description: str
    all_users: bool


@dataclass(frozen=True, slots=True)
class WebhookChanges:
    """Changes of a webhook; None leaves a field as it is."""

    url: str | None = None
    event_types: list[str] | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver of events."""

    id: str
    user_id: str
    """The user whose events it receives; empty for one of the platform, which receives all."""
    url: str
    event_types: tuple[str, ...]
    description: str
    state: WebhookState
    disable_reason: DisableReason | None
    secrets_sealed: tuple[bytes, ...]
    """The secret, and the previous one until it expires; encrypted."""
    previous_secret_expire_time: datetime | None
    """None once it has expired."""
    failures: int
    """Failed rounds of attempts since the last success."""
    failing_since: datetime | None
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True)
class Lease:
    """A webhook that this replica alone sends for, until the lease expires."""

    webhook_id: str
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class EventTypeInfo:
    """A type of event that webhooks carry."""

    type: str
    message: str
    """Full name of the event's message."""


@dataclass(frozen=True, slots=True)
class PendingDeliveries:
    """Counts of the deliveries that are still to be sent to enabled webhooks."""

    due: int
    deferred: int
    """Their next attempt is still to come."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event, as webhooks carry it."""

    event_id: str
    type: str
    occur_time: datetime
    user_ids: tuple[str, ...]
    """The users whom it concerns."""
    payload: bytes
    """The JSON that is sent."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to a webhook's URL."""

    attempt_time: datetime
    response_status: int
    """0 without a response."""
    error: str
    """Why there was no response; empty with one."""
    duration_ms: int

    @property
    def succeeded(self) -> bool:
        """Whether the receiver has taken the event."""
        return self.response_status in SUCCESS

    def record(self) -> Mapping[str, str | int]:
        """Return the attempt as JSON values."""
        return asdict(self) | {"attempt_time": self.attempt_time.isoformat()}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Return the attempt of a record."""
        return cls(**{**record, "attempt_time": datetime.fromisoformat(record["attempt_time"])})


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to one webhook."""

    id: str
    webhook_id: str
    event_id: str
    event_type: str
    payload: bytes
    occur_time: datetime
    state: DeliveryState
    failures: int
    """Failed attempts of the current retry schedule."""
    attempt_time: datetime
    """When the next attempt is due; without meaning unless it is pending."""
    attempts: tuple[Attempt, ...]
    """The latest, oldest first."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt made of a delivery."""

    delivery_id: str
    failures: int
    """Failed attempts before this one."""
    attempt: Attempt
    state: DeliveryState
    delay: timedelta = timedelta(0)
    """Until the next attempt, if it is still pending."""


def judge(delivery: Delivery, attempt: Attempt, *, retry_after: timedelta, jitter: float) -> Outcome:
    """Return what follows from an attempt.

    `retry_after` is the delay that the receiver asked for, `jitter` a random number from -1 to 1.
    """
    if attempt.succeeded:
        return Outcome(delivery.id, delivery.failures, attempt, DeliveryState.DELIVERED)
    if delivery.failures >= len(RETRY_DELAYS):
        return Outcome(delivery.id, delivery.failures, attempt, DeliveryState.FAILED)
    delay = RETRY_DELAYS[delivery.failures] * (1 + RETRY_JITTER * jitter)
    delay = max(delay, min(retry_after, MAX_RETRY_AFTER))
    return Outcome(delivery.id, delivery.failures, attempt, DeliveryState.PENDING, delay)


def new_secret() -> bytes:
    """Return a random secret."""
    return os.urandom(SECRET_BYTES)


def secret_text(secret: bytes) -> str:
    """Return a secret as its owner is shown it: base64 after `whsec_`."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def signed_headers(secrets: Sequence[bytes], *, message_id: str, timestamp: int, payload: bytes) -> Mapping[str, str]:
    """Return the headers of a request, with a signature by each secret (Standard Webhooks 1.0, HMAC-SHA256)."""
    signed = f"{message_id}.{timestamp}.".encode() + payload
    signatures = [base64.b64encode(hmac.digest(secret, signed, "sha256")).decode() for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
