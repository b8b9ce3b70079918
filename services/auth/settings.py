"""Settings of Auth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from services.shared.settings import ServiceSettings
from services.shared.tokens import MAX_TOKEN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_BCRYPT_COST = 10
"""OWASP Password Storage Cheat Sheet: a work factor of 10 or more."""


class AuthSettings(ServiceSettings):
    """Settings of Auth, as environment variables with the prefix AZORA_."""

    bcrypt_cost: Annotated[int, Field(ge=4, le=16)] = 12
    """bcrypt work factor, logarithmic (base 2). Must be at least 10 in production."""
    access_token_seconds: Annotated[int, Field(ge=60, le=MAX_TOKEN_SECONDS)] = 900
    """Access token lifetime in seconds."""
    signing_key_days: Annotated[float, Field(gt=0, le=3650)] = 90
    """Days after which the active signing key is replaced."""
    signing_key_cache_seconds: Annotated[float, Field(gt=0, le=60)] = 5
    """Maximum age of the cached active signing key in each Auth process."""
    session_idle_days: Annotated[int, Field(ge=1, le=365)] = 30
    """Idle session timeout in days, reset by every refresh."""
    session_days: Annotated[int, Field(ge=1, le=365)] = 90
    """Absolute session lifetime in days."""

    def insecure(self) -> Iterator[str]:
        """Yield what production refuses."""
        yield from super().insecure()
        if self.bcrypt_cost < MIN_BCRYPT_COST:
            yield f"AZORA_BCRYPT_COST must be at least {MIN_BCRYPT_COST} in production"
