"""Certificates of completed courses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate, with what it says of the learner and of the course as the completed revision has it."""

    id: str
    user_id: str
    course_id: str
    course_revision: int
    course_title: str
    course_description: str
    learner_name: str
    """Empty if it is not known, and once it is erased."""
    status_index: int
    """Position among all certificates, as their status lists count them."""
    issue_time: datetime
    """In whole seconds."""
    revoke_time: datetime | None
    revoke_reason: str

    @property
    def revoked(self) -> bool:
        """Whether it is valid no more."""
        return self.revoke_time is not None

    def shown(self) -> Certificate:
        """Return the certificate as anyone may see it: whose it was, and why it is revoked, is nobody's concern."""
        return replace(self, learner_name="", revoke_reason="") if self.revoked else self


@dataclass(frozen=True, slots=True)
class SignedCertificate:
    """A certificate with its credential."""

    certificate: Certificate
    credential: str
    """Compact JWS; empty once the certificate is revoked."""
