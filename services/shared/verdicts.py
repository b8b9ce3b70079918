"""Which errors are verdicts that another attempt would only repeat."""

from __future__ import annotations

from services.shared.errors import (
    Aborted,
    DeadlineExceeded,
    DomainError,
    Internal,
    Refused,
    ResourceExhausted,
    Unavailable,
)

TRANSIENT = (Aborted, DeadlineExceeded, ResourceExhausted, Unavailable, OSError, TimeoutError)
"""Faults of the moment: another attempt can succeed."""


def is_verdict(error: BaseException) -> bool:
    """Whether the error is an answer on the request itself rather than a fault of the moment or a defect."""
    return isinstance(error, Refused) or (
        isinstance(error, DomainError) and not isinstance(error, (*TRANSIENT, Internal))
    )


def reason_of(error: BaseException) -> str:
    """Return the error's reason, or the name of its class."""
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, str) else type(error).__name__
