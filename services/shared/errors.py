"""Errors that are returned to callers, independent of the transport.

    DomainError
    ├── InvalidArgument ── ValidationFailed · MalformedRequest · UpdateMaskInvalid · CurrencyUnknown · …
    ├── Unauthenticated ── TokenMissing · TokenInvalid (TokenRevoked) · TokenExpired
    ├── PermissionDenied ── AccessDenied · ScopeInsufficient · InteractiveSignInRequired
    ├── NotFound ── ServiceUnknown
    ├── AlreadyExists
    ├── FailedPrecondition
    ├── Aborted
    ├── ResourceExhausted ── RateLimited · Overloaded · TooManyStreams
    ├── DeadlineExceeded ── DeadlinePassed
    ├── Unavailable ── DependencyUnavailable · StreamInterrupted
    └── Internal ── InternalError

The first paragraph of a class's docstring is its message, its name in upper snake case is its reason: a class
`InsufficientFunds(FailedPrecondition)` answers FAILED_PRECONDITION with the reason INSUFFICIENT_FUNDS, documented in
the service's error_reason.proto together with its metadata.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DOMAIN = "azora.dev"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that broke a rule: its path in the request's JSON, what is wrong, and the rule's name."""

    field: str
    description: str
    reason: str = ""


class DomainError(Exception):
    """The request failed."""

    reason: ClassVar[str]
    stored: ClassVar[bool] = False
    """Whether an idempotency key keeps this answer: a verdict on the request does, a fault of the moment does not."""

    def __init__(
        self,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.message)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.reason = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).upper()

    @property
    def message(self) -> str:
        """The class's docstring, up to its first empty line, on one line."""
        return " ".join((type(self).__doc__ or "").split("\n\n", maxsplit=1)[0].split())

    def record(self) -> dict[str, Any]:
        """All of the error as JSON values, for an idempotency record."""
        return {
            "kind": next(kind.__name__ for kind in type(self).__mro__ if kind in DomainError.__subclasses__()),
            "reason": self.reason,
            "message": self.message,
            "metadata": self.metadata,
            "violations": [asdict(violation) for violation in self.violations],
        }


def revive(record: Mapping[str, Any]) -> DomainError:
    """Make an error of the recorded kind that answers exactly as the recorded one did."""
    kind = next(kind for kind in DomainError.__subclasses__() if kind.__name__ == record["kind"])
    replayed: type[DomainError] = type(kind.__name__, (kind,), {"__doc__": record["message"]})
    replayed.reason = record["reason"]
    return replayed(
        metadata=record["metadata"],
        violations=[FieldViolation(**violation) for violation in record["violations"]],
    )


class Refused(Exception):
    """Another service looked at a call of ours and refused it.

    For whoever made the call to catch, and to answer in its own words: it is nothing that our caller asked for. Raised
    for verdicts only; DependencyUnavailable stands for whatever leaves open what happened.
    """

    def __init__(
        self, reason: str, code: str = "FAILED_PRECONDITION", metadata: Mapping[str, str] | None = None
    ) -> None:
        self.reason = reason
        """ErrorInfo.reason, as the service's error_reason.proto has it; empty where the answer had none."""
        self.code = code
        """Name of the gRPC code, "FAILED_PRECONDITION"."""
        self.metadata = dict(metadata or {})
        """ErrorInfo.metadata."""
        super().__init__(f"{code} {reason}")


class InvalidArgument(DomainError):
    """Invalid request."""

    @classmethod
    def field(cls, field: str, description: str) -> Self:
        """Make the error for one field: its path in the request's JSON and what is wrong with it."""
        return cls(violations=(FieldViolation(field, description, cls.reason),))


class Unauthenticated(DomainError):
    """Authentication required."""


class PermissionDenied(DomainError):
    """Permission denied."""


class NotFound(DomainError):
    """Not found."""

    stored = True


class ServiceUnknown(NotFound):
    """Unknown service: use the full name of a gRPC service."""


class AlreadyExists(DomainError):
    """Already exists."""

    stored = True


class FailedPrecondition(DomainError):
    """The operation is not allowed in the current state."""

    stored = True


class Aborted(DomainError):
    """The resource was modified concurrently; read it again and retry."""


class ResourceExhausted(DomainError):
    """Resource exhausted."""


class DeadlineExceeded(DomainError):
    """Deadline exceeded."""


class Unavailable(DomainError):
    """Service unavailable; try again later."""


class Internal(DomainError):
    """internal error"""  # noqa: D400, D415 - the exact text that SEMANTICS of the API promises


class InternalError(Internal):
    """internal error"""  # noqa: D400, D415 - the exact text that SEMANTICS of the API promises

    def __init__(self, *, request_id: str) -> None:
        super().__init__(metadata={"requestId": request_id})


class ValidationFailed(InvalidArgument):
    """One or more fields are invalid."""


class MalformedRequest(InvalidArgument):
    """The request cannot be parsed as the method's request message."""


class CurrencyUnknown(InvalidArgument):
    """Unknown currency: use AZR or an ISO 4217 code."""

    def __init__(self, *, currency: str) -> None:
        super().__init__(metadata={"currency": currency})


class UpdateMaskInvalid(InvalidArgument):
    """The update mask contains a field that is unknown or cannot be updated."""

    def __init__(self, *, path: str) -> None:
        super().__init__(metadata={"path": path})


class PageTokenInvalid(InvalidArgument):
    """Invalid page token: use nextPageToken of the previous page with the same arguments."""


class IdempotencyKeyReused(InvalidArgument):
    """The idempotency key was already used with a different request."""


class IdempotencyKeyConflict(InvalidArgument):
    """request_id and the Idempotency-Key header have different values."""


class IdempotencyKeyInvalid(InvalidArgument):
    """An idempotency key of 1 to 255 characters is required."""


class TokenMissing(Unauthenticated):
    """Authentication required: send an access token in the Authorization: Bearer header."""


class TokenInvalid(Unauthenticated):
    """Invalid access token; sign in again."""


class TokenRevoked(TokenInvalid):
    """Invalid access token; sign in again."""


TokenRevoked.reason = TokenInvalid.reason  # A difference that callers are not told.


class TokenExpired(Unauthenticated):
    """The access token has expired; refresh it."""


class AccessDenied(PermissionDenied):
    """Permission denied."""


class ScopeInsufficient(PermissionDenied):
    """The API key does not have the required scope."""

    def __init__(self, *, scope: str) -> None:
        super().__init__(metadata={"scope": scope})


class InteractiveSignInRequired(PermissionDenied):
    """API keys are not accepted here; sign in."""


class RateLimited(ResourceExhausted):
    """Rate limit exceeded; retry after the delay in Retry-After."""

    def __init__(self, *, retry_after_seconds: float, tier: str | None = None) -> None:
        super().__init__(metadata={"tier": tier} if tier else None, retry_after_seconds=retry_after_seconds)


class Overloaded(ResourceExhausted):
    """The server is overloaded; retry after the delay in Retry-After."""


class TooManyStreams(ResourceExhausted):
    """Too many concurrent streams; close one of them."""

    def __init__(self, *, limit: int) -> None:
        super().__init__(metadata={"limit": str(limit)})


class DeadlinePassed(DeadlineExceeded):
    """Deadline exceeded."""


class DependencyUnavailable(Unavailable):
    """A required service is temporarily unavailable; try again later."""


class StreamInterrupted(Unavailable):
    """The server is shutting down; reconnect and resume the stream."""
