"""The settings that every service has. Each reads the environment once, in its composition root, and freezes it."""

from __future__ import annotations

import base64
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

S = TypeVar("S", bound=BaseSettings)
SECRET_BYTES = 32


class Environment(StrEnum):
    """What kind of system this is. Insecure choices are for development and refuse to start in production."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class SettingsError(Exception):
    """A setting is missing or refused; the text says which, why, and never its value."""


class ServerSettings(BaseSettings):
    """Settings of any gRPC server, as environment variables with the prefix AZORA_."""

    model_config = SettingsConfigDict(env_prefix="AZORA_", frozen=True, extra="ignore", use_attribute_docstrings=True)

    env: Environment = Environment.PRODUCTION
    """development or production."""
    listen: str
    """Where the gRPC server listens: "unix:/run/azora/auth.sock", or "0.0.0.0:50051" with mutual TLS."""
    tls_certificate: Path | None = None
    """This service's certificate on the mesh (PEM), with its SPIFFE identity."""
    tls_key: Path | None = None
    """The certificate's private key (PEM)."""
    tls_authority: Path | None = None
    """The certificate authority of the mesh (PEM)."""
    reflection: bool | None = None
    """Whether gRPC reflection is served; unset means in development only."""
    rate_limit_scale: Annotated[float, Field(gt=0)] = 1.0
    """Multiplies every rate limit, for tests and load runs; 1 in production."""
    redis_url: SecretStr | None = None
    """Where replicas share their rate-limit counters; in-process without it."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least level that is logged."""
    max_concurrent_rpcs: Annotated[int, Field(ge=1)] = 256
    """Calls served at once; more are answered RESOURCE_EXHAUSTED."""
    drain_seconds: Annotated[float, Field(ge=0)] = 3.0
    """How long to go on serving after health says NOT_SERVING, so that the mesh looks elsewhere."""
    grace_seconds: Annotated[float, Field(ge=0)] = 10.0
    """How long calls in flight may take to finish after that."""

    @model_validator(mode="after")
    def _insecure_is_for_development(self) -> Self:
        over_tcp = not self.listen.startswith("unix:")
        if over_tcp and not (self.tls_certificate and self.tls_key and self.tls_authority):
            raise ValueError("AZORA_LISTEN is TCP, which needs AZORA_TLS_CERTIFICATE, _KEY and _AUTHORITY")
        if self.production and self.rate_limit_scale != 1:
            raise ValueError("AZORA_RATE_LIMIT_SCALE must be 1 in production")
        if self.production and self.reflection:
            raise ValueError("AZORA_REFLECTION must not be on in production")
        return self

    @property
    def counters_url(self) -> str:
        """Where rate-limit counters are shared; empty for in-process ones."""
        return self.redis_url.get_secret_value() if self.redis_url else ""

    @property
    def production(self) -> bool:
        """Whether this is a production system."""
        return self.env is Environment.PRODUCTION

    @property
    def serves_reflection(self) -> bool:
        """Whether gRPC reflection is served."""
        return not self.production if self.reflection is None else self.reflection


class ServiceSettings(ServerSettings):
    """Settings of a service that has a database and calls others over the mesh."""

    database_url: SecretStr
    """The service's own database, with the run-time role: postgresql+asyncpg://..."""
    migration_database_url: SecretStr | None = None
    """The same database with the owner's role; needed by `migrate` only."""
    database_pool_size: Annotated[int, Field(ge=1, le=200)] = 10
    """Connections to the database at most."""
    secret_key: SecretStr
    """32 random bytes in base64, the same for all replicas of a service; other keys are derived from it."""
    previous_secret_keys: SecretStr = SecretStr("")
    """Former values of AZORA_SECRET_KEY, comma-separated, which decrypt what was encrypted under them. Required for as
    long as a session (AZORA_SESSION_DAYS) or a signing key of their time is in use."""
    mesh_target: str = ""
    """The mesh's internal listener, for calls to other services: "unix:/run/azora/mesh.sock" or "envoy:9443"."""
    issuer: str = "https://azora.local"
    """The `iss` of access tokens."""
    audience: str = "azora"
    """The `aud` of access tokens."""

    @field_validator("secret_key")
    @classmethod
    def _secret_is_long(cls, value: SecretStr) -> SecretStr:
        _secret_bytes(value.get_secret_value())
        return value

    @field_validator("previous_secret_keys")
    @classmethod
    def _previous_secrets_are_long(cls, value: SecretStr) -> SecretStr:
        for secret in _listed(value):
            _secret_bytes(secret)
        return value

    def derive_key(self, purpose: str) -> bytes:
        """Return 32 bytes that only this service knows, different for each purpose (HKDF-SHA256, RFC 5869)."""
        return _derive(self.secret_key.get_secret_value(), purpose)

    def derive_keys(self, purpose: str) -> list[bytes]:
        """Return the key of this purpose and then, newest first, those of the previous secret keys."""
        return [self.derive_key(purpose), *(_derive(secret, purpose) for secret in _listed(self.previous_secret_keys))]


def _listed(secrets: SecretStr) -> list[str]:
    return [secret.strip() for secret in secrets.get_secret_value().split(",") if secret.strip()]


def _secret_bytes(secret: str) -> bytes:
    try:
        raw = base64.b64decode(secret, validate=True)
    except ValueError:
        raw = b""
    if len(raw) < SECRET_BYTES:
        raise ValueError("must be at least 32 random bytes in base64: openssl rand -base64 32")
    return raw


def _derive(secret: str, purpose: str) -> bytes:
    derivation = HKDF(algorithm=SHA256(), length=SECRET_BYTES, salt=None, info=purpose.encode())
    return derivation.derive(_secret_bytes(secret))


def load(kind: type[S]) -> S:
    """Read settings from the environment. Raises SettingsError, which names each variable and never its value.

    Where AZORA_SECRETS_DIR names a folder, what the environment lacks is read from files of its variables' names there
    (azora_database_url), as containers are given their secrets.
    """
    secrets = os.environ.get("AZORA_SECRETS_DIR") or None
    if secrets is not None and not Path(secrets).is_dir():
        raise SettingsError("AZORA_SECRETS_DIR: there is no such folder")
    try:
        return kind(_secrets_dir=secrets)
    except ValidationError as error:
        problems = [
            f"{'AZORA_' + str(problem['loc'][0]).upper() if problem['loc'] else 'settings'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsError("; ".join(problems)) from None
