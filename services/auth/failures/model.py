"""Failed attempts, and how long one waits after them (OWASP ASVS 6.3.1; NIST SP 800-63B-4, section 3.2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, log2
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

FIRST_WAIT_SECONDS = 30.0


class SubjectKind(StrEnum):
    """Kind of subject that failures are counted for."""

    ACCOUNT = "account"
    """An e-mail address, whether there is an account or not."""
    ADDRESS = "address"
    """The network that attempts come from."""
    DEVICE = "device"
    """A known device of an account: counted by itself, so that nobody else's failures keep it waiting."""
    CODES = "codes"
    """Codes of a user's second factor, over all challenges."""
    SESSION = "session"
    """Passwords and codes by which a session's user confirms a change."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that failures are counted for."""

    kind: SubjectKind
    name: str


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """Limit of failed attempts: threshold, maximum wait, decay."""

    max_failures: int
    """Failures before the first wait; each further one doubles the wait."""
    max_wait_seconds: float
    forget_seconds: float
    """Time after which one failure is forgotten."""

    @property
    def max_counted(self) -> int:
        """Failures above this are not counted: the wait grows no longer."""
        return self.max_failures + max(0, ceil(log2(self.max_wait_seconds / FIRST_WAIT_SECONDS)))


@dataclass(frozen=True, slots=True)
class CountedFailure:
    """A failure that was counted for a subject, and what undoes it."""

    subject: Subject
    wait_end_time: datetime
    """End of the wait that it began."""
    previous_wait_end_time: datetime | None
    """End of the wait before it; None if it is the subject's first failure."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt, counted as a failure for each of its subjects until it succeeds."""

    counted: tuple[CountedFailure, ...]
