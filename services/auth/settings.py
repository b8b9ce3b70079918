"""Settings of Auth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from services.auth.failures.model import FailureLimit, SubjectKind
from services.shared.settings import ServiceSettings
from services.shared.tokens import MAX_TOKEN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MIN_BCRYPT_COST = 10
"""OWASP Password Storage Cheat Sheet: a work factor of 10 or more."""


class AuthSettings(ServiceSettings):
    """Settings of Auth, as environment variables with the prefix AZORA_."""

    bcrypt_cost: Annotated[int, Field(ge=4, le=16)] = 12
    """bcrypt work factor, logarithmic (base 2). Must be at least 10 in production."""
    access_token_seconds: Annotated[int, Field(ge=60, le=MAX_TOKEN_SECONDS)] = 900
    """Access token lifetime in seconds."""
    session_idle_days: Annotated[int, Field(ge=1, le=365)] = 30
    """Idle session timeout in days, reset by every refresh."""
    session_days: Annotated[int, Field(ge=1, le=365)] = 90
    """Absolute session lifetime in days."""

    device_idle_days: Annotated[int, Field(ge=1, le=3650)] = 365
    """Time in days after which a known device that no sign-in was made from is forgotten."""
    account_max_failures: Annotated[int, Field(ge=1, le=100)] = 5
    """Failed attempts before the first wait of 30 seconds, which each further one doubles. Counted per account, known
    device, second factor of an account, and session that confirms changes."""
    address_max_failures: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Failed attempts from one address, at any accounts, before the first wait. One is forgotten each minute."""
    max_wait_seconds: Annotated[int, Field(ge=30, le=86_400)] = 900
    """Maximum wait after a failed attempt in seconds. Per account one failure is forgotten in that time."""

    def failure_limits(self) -> Mapping[SubjectKind, FailureLimit]:
        """Return how failed attempts are limited. AZORA_RATE_LIMIT_SCALE multiplies their number."""
        scale = self.rate_limit_scale

        def limit(max_failures: int, forget_seconds: float) -> FailureLimit:
            return FailureLimit(max(1, int(max_failures * scale)), self.max_wait_seconds, forget_seconds)

        account, address = limit(self.account_max_failures, self.max_wait_seconds), limit(self.address_max_failures, 60)
        return {kind: address if kind is SubjectKind.ADDRESS else account for kind in SubjectKind}

    def insecure(self) -> Iterator[str]:
        """Yield what production refuses."""
        yield from super().insecure()
        if self.bcrypt_cost < MIN_BCRYPT_COST:
            yield f"AZORA_BCRYPT_COST must be at least {MIN_BCRYPT_COST} in production"
