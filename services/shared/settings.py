"""Settings shared by all processes, read from the environment once, in the composition root, and frozen."""

from __future__ import annotations

import base64
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.shared.limits import MAX_CONCURRENT_RPCS
from services.shared.rate_limits import RateLimitChanges

if TYPE_CHECKING:
    from collections.abc import Iterator

S = TypeVar("S", bound=BaseSettings)
SECRET_BYTES = 32
MIN_DISTINCT_BYTES = 16
"""Distinct values among 32 bytes below which they are not random: of random ones, 1 in 10^12 has so few."""
WELL_KNOWN_PASSWORDS = frozenset(
    {"", "admin", "azora", "changeme", "example", "password", "postgres", "secret", "test"}
)
JwksCacheSeconds = Annotated[int, Field(ge=1, le=3600)]
OtlpEndpoint = Annotated[str, Field(pattern=r"^(http://[A-Za-z0-9.-]+:[0-9]{1,5}|unix:/.+)?$")]
Ratio = Annotated[float, Field(ge=0, le=1)]


def _without_slash(url: str) -> str:
    return url.rstrip("/")


def require_https(variable: str, url: str) -> Iterator[str]:
    """Yield what production refuses of a variable's URL: anything but https, unless on localhost."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname != "localhost":
        yield f"{variable} must be an https URL in production"


PublicUrl = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?$"), AfterValidator(_without_slash)]


class Environment(StrEnum):
    """Deployment environment. Insecure settings are rejected at start in production."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class SettingsError(Exception):
    """A setting is missing or invalid. The message names the variable and the reason, never the value."""


class DeploymentSettings(BaseSettings):
    """Settings of what runs in development and in production, where it refuses insecure ones."""

    model_config = SettingsConfigDict(env_prefix="AZORA_", frozen=True, extra="ignore", use_attribute_docstrings=True)

    env: Environment = Environment.PRODUCTION
    """Deployment environment: `development` or `production`."""

    @property
    def production(self) -> bool:
        """Whether this is a production system."""
        return self.env is Environment.PRODUCTION

    def insecure(self) -> Iterator[str]:
        """Yield what production refuses, each with the name of its variable."""
        yield from ()

    @model_validator(mode="after")
    def _insecure_is_for_development(self) -> Self:
        problems = list(self.insecure()) if self.production else []
        if problems:
            raise ValueError("; ".join(problems))
        return self


class ServerSettings(DeploymentSettings):
    """Settings of any gRPC server, as environment variables with the prefix AZORA_."""

    listen: str
    """Listen address of the gRPC server: `unix:/run/azora/auth.sock`, or `0.0.0.0:50051` with mutual TLS."""
    health_listen: str = ""
    """Listen address of health checks without TLS, for the probes of Kubernetes: `0.0.0.0:50052`. Nothing else is
    served there. The service `grpc.health.v1.Health` is SERVING for as long as the process runs. Off if unset."""
    tls_certificate: Path | None = None
    """Path of the mesh certificate (PEM), which carries the SPIFFE identity."""
    tls_key: Path | None = None
    """Path of the certificate's private key (PEM)."""
    tls_authority: Path | None = None
    """Path of the mesh certificate authority (PEM)."""
    reflection: bool | None = None
    """Whether to serve gRPC reflection. Defaults to true in development and false in production."""
    rate_limit_scale: Annotated[float, Field(gt=0)] = 1.0
    """Multiplier of all rate limits and velocity limits, for tests and load generation. Must be 1 in production."""
    rate_limits: RateLimitChanges = ""
    """Limits per minute that replace those of the [rate-limit tiers](policies.md#rate-limits), comma-separated:
    `CREDENTIALS.per_address=100,MONEY.per_user=120`. Must be the same for all services and Envoy."""
    redis_url: SecretStr | None = None
    """URL of the Redis-compatible server for shared rate-limit counters and cached course revisions. Both are
    in-process if unset."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Minimum log level."""
    otlp_endpoint: OtlpEndpoint = ""
    """OTLP endpoint for traces, over gRPC without TLS: `http://127.0.0.1:4317`. Traces are not recorded if unset."""
    trace_sample_ratio: Ratio = 1.0
    """Fraction of traces to record, from 0 to 1. Calls that are part of a trace follow its sampling decision."""
    max_concurrent_rpcs: Annotated[int, Field(ge=1)] = MAX_CONCURRENT_RPCS
    """Maximum number of concurrent calls from clients, and of calls from other services. Excess calls fail with
    RESOURCE_EXHAUSTED, those of a low priority first. Health checks, watches and sign-out are not limited."""
    drain_seconds: Annotated[float, Field(ge=0)] = 3.0
    """Delay between health status NOT_SERVING and shutdown, in seconds. Must exceed Envoy's health check interval."""
    grace_seconds: Annotated[float, Field(ge=0)] = 10.0
    """Maximum time for in-flight calls to complete during shutdown, in seconds."""

    def insecure(self) -> Iterator[str]:
        """Yield what production refuses."""
        yield from super().insecure()
        if self.rate_limit_scale != 1:
            yield "AZORA_RATE_LIMIT_SCALE must be 1 in production"
        if self.reflection:
            yield "AZORA_REFLECTION must not be enabled in production"
        if self.redis_url and _is_well_known(self.redis_url):
            yield "AZORA_REDIS_URL must not contain a well-known password in production"

    @model_validator(mode="after")
    def _tcp_is_secured(self) -> Self:
        if not self.listen.startswith("unix:") and self.mutual_tls is None:
            raise ValueError("AZORA_LISTEN is a TCP address, which requires AZORA_TLS_CERTIFICATE, _KEY and _AUTHORITY")
        return self

    @property
    def mutual_tls(self) -> tuple[Path, Path, Path] | None:
        """Paths of the certificate, its private key and the mesh certificate authority; None without TLS."""
        if self.tls_certificate and self.tls_key and self.tls_authority:
            return self.tls_certificate, self.tls_key, self.tls_authority
        return None

    @property
    def counters_url(self) -> str:
        """URL of the shared rate-limit counters; empty for in-process counters."""
        return self.redis_url.get_secret_value() if self.redis_url else ""

    @property
    def serves_reflection(self) -> bool:
        """Whether gRPC reflection is served."""
        return not self.production if self.reflection is None else self.reflection


class MeshSettings(ServerSettings):
    """Settings of a server that verifies access tokens and calls other services."""

    mesh_target: str = ""
    """Address of Envoy's internal listener: `unix:/run/azora/mesh.sock` or `envoy:9443`."""
    public_url: PublicUrl = "http://localhost:8080"
    """Base URL of the public API, without a path: `https://api.example.com`. Issuer of access tokens (`iss` claim) and
    base of links. Must be the same for all services and Envoy, and https in production unless on localhost."""
    audience: str = "azora"
    """Audience of access tokens (`aud` claim)."""
    jwks_cache_seconds: JwksCacheSeconds = 60
    """Maximum age of cached public signing keys. Must be the same for all services and Envoy."""
    fresh_sessions_seconds: Annotated[float, Field(ge=3, le=3600)] = 30
    """Maximum age of the known session revocations, in seconds, for methods that
    [require fresh sessions](policies.md). While Auth does not answer for longer, they fail with UNAVAILABLE."""

    def insecure(self) -> Iterator[str]:
        """Yield what production refuses."""
        yield from super().insecure()
        yield from require_https("AZORA_PUBLIC_URL", self.public_url)


class ServiceSettings(MeshSettings):
    """Settings of a service with a database and calls to other services."""

    database_url: SecretStr
    """URL of the service's database with the run-time role: `postgresql+asyncpg://...`."""
    migration_database_url: SecretStr | None = None
    """URL of the same database with the owner role. Required by `migrate` only."""
    database_pool_size: Annotated[int, Field(ge=1, le=200)] = 10
    """Maximum number of database connections per process."""
    secret_key: SecretStr
    """Secret from which the service's keys are derived: 32 random bytes, base64, shared by all replicas."""
    previous_secret_keys: SecretStr | None = None
    """Former values of AZORA_SECRET_KEY, comma-separated, that still decrypt. Required for as long as sessions
    (AZORA_SESSION_DAYS), signing keys, webhook secrets and second factors of their time are in use."""
    idempotency_retention_hours: Annotated[float, Field(ge=24)] = 24
    """Retention of idempotency keys and their answers."""
    job_log_retention_days: Annotated[float, Field(gt=0)] = 7
    """Retention of the job queue's log and statistics."""
    event_retention_days: Annotated[float, Field(ge=8)] = 30
    """Retention of the ids of received events. Longer than publishers deliver an event, which is 7 days."""
    audit_origin_retention_days: Annotated[float, Field(ge=1)] = 365
    """Retention of network addresses and user agents of audit events. The events themselves are not deleted."""

    def insecure(self) -> Iterator[str]:
        """Yield what production refuses."""
        yield from super().insecure()
        for name in ("secret_key", "previous_secret_keys"):
            if any(len(set(_secret_bytes(secret))) < MIN_DISTINCT_BYTES for secret in _listed(getattr(self, name))):
                yield f"AZORA_{name.upper()} must be random in production: openssl rand -base64 32"
        for name in ("database_url", "migration_database_url"):
            url = getattr(self, name)
            if url and _is_well_known(url):
                yield f"AZORA_{name.upper()} must not contain a well-known password in production"

    @field_validator("secret_key")
    @classmethod
    def _secret_is_long(cls, value: SecretStr) -> SecretStr:
        _secret_bytes(value.get_secret_value())
        return value

    @field_validator("previous_secret_keys")
    @classmethod
    def _previous_secrets_are_long(cls, value: SecretStr | None) -> SecretStr | None:
        for secret in _listed(value):
            _secret_bytes(secret)
        return value

    def derive_key(self, purpose: str) -> bytes:
        """Return 32 bytes that only this service knows, different for each purpose (HKDF-SHA256, RFC 5869)."""
        return _derive(self.secret_key.get_secret_value(), purpose)

    def derive_keys(self, purpose: str) -> list[bytes]:
        """Return the key of this purpose and then, newest first, those of the previous secret keys."""
        return [self.derive_key(purpose), *(_derive(secret, purpose) for secret in _listed(self.previous_secret_keys))]


def _listed(secrets: SecretStr | None) -> list[str]:
    text = secrets.get_secret_value() if secrets else ""
    return [secret.strip() for secret in text.split(",") if secret.strip()]


def _is_well_known(url: SecretStr) -> bool:
    """Whether a URL has a password that anyone would guess: a common one, or the name of its user.

    Drivers take both from the query, too.
    """
    parts = urlsplit(url.get_secret_value())
    query = parse_qs(parts.query, keep_blank_values=True)
    passwords = [*query.get("password", ()), *([] if parts.password is None else [unquote(parts.password)])]
    guesses = {*WELL_KNOWN_PASSWORDS, parts.username, *query.get("user", ()), *query.get("username", ())}
    return any(password.casefold() in guesses for password in passwords)


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
        raise SettingsError("AZORA_SECRETS_DIR: directory not found")
    try:
        return kind(_secrets_dir=secrets)
    except ValidationError as error:
        problems = [
            f"{'AZORA_' + str(problem['loc'][0]).upper() if problem['loc'] else 'settings'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsError("; ".join(problems)) from None
