"""The settings of Auth."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from services.shared.settings import ServiceSettings

BCRYPT_COST_LEAST = 10
"""OWASP Password Storage Cheat Sheet: a work factor of 10 or more."""


class AuthSettings(ServiceSettings):
    """Settings of Auth, as environment variables with the prefix AZORA_."""

    bcrypt_cost: Annotated[int, Field(ge=4, le=16)] = 12
    """How slow a password check is: each step doubles it. Below 10 in development only."""
    access_token_seconds: Annotated[int, Field(ge=60, le=3600)] = 900
    """How long an access token is good."""
    session_idle_days: Annotated[int, Field(ge=1, le=365)] = 30
    """After how long without a refresh a session ends."""
    session_days: Annotated[int, Field(ge=1, le=365)] = 90
    """After how long a session ends however much it is used."""

    @model_validator(mode="after")
    def _passwords_are_slow_to_guess(self) -> Self:
        if self.production and self.bcrypt_cost < BCRYPT_COST_LEAST:
            raise ValueError(f"AZORA_BCRYPT_COST must be at least {BCRYPT_COST_LEAST} in production")
        return self
