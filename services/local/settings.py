"""Settings of the local system, read from the environment once."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.local.errors import SettingInvalid
from services.local.public_port import PublicPort
from services.shared.rate_limits import RateLimitChanges
from services.shared.settings import (
    Environment,
    JwksCacheSeconds,
    OtlpEndpoint,
    PublicUrl,
    Ratio,
    SettingsError,
    load,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

MIN_CERTIFICATE_HOURS = 0.003
"""A third of it, in which certificates are renewed, is a few seconds: processes look at the files every second."""
MAX_CERTIFICATE_HOURS = 24 * 365


def _default_home() -> Path:
    """Return `.azora` in the checkout that this file belongs to; installed without one, in the current folder."""
    checkout = Path(__file__).resolve().parents[2]
    return (checkout if (checkout / "pyproject.toml").exists() else Path.cwd()) / ".azora"


class SystemSettings(BaseSettings):
    """Settings of `azora up`. All other AZORA_ variables are passed on to the services."""

    model_config = SettingsConfigDict(env_prefix="AZORA_", frozen=True, extra="ignore", use_attribute_docstrings=True)

    home: Path = Field(default_factory=_default_home)
    """Directory of all state: database, keys, certificates, logs. Defaults to `.azora` in the checkout."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    """Public port, on 127.0.0.1."""
    public_certificate: Path | None = None
    """Certificate chain of the public port (PEM); enables TLS. Read again when it is renewed."""
    public_key: Path | None = None
    """Private key of the public port's certificate (PEM)."""
    env: Environment = Environment.DEVELOPMENT
    """Must be development: `azora up` refuses to start in production."""
    rate_limit_scale: Annotated[float, Field(gt=0)] = 1.0
    """Multiplier of all rate limits and velocity limits, Envoy's flood guard included."""
    rate_limits: RateLimitChanges = ""
    """Limits per minute that replace those of the [rate-limit tiers](policies.md#rate-limits), comma-separated:
    `CREDENTIALS.per_address=100,MONEY.per_user=120`."""
    public_url: PublicUrl | None = None
    """Base URL of the public API: issuer of access tokens and base of links. Defaults to `http://localhost:PORT`."""
    jwks_cache_seconds: JwksCacheSeconds = 60
    """Maximum age of cached public signing keys, in services and Envoy."""
    otlp_endpoint: OtlpEndpoint = ""
    """OTLP endpoint for the traces of all processes, Envoy included: `http://127.0.0.1:4317`."""
    trace_sample_ratio: Ratio = 1.0
    """Fraction of traces to record, from 0 to 1."""
    certificate_hours: Annotated[float, Field(ge=MIN_CERTIFICATE_HOURS, le=MAX_CERTIFICATE_HOURS)] = 24.0
    """Lifetime of mesh certificates. They are renewed when a third of it is left, without a restart."""

    @property
    def certificate_lifetime(self) -> dt.timedelta:
        """Lifetime of mesh certificates."""
        return dt.timedelta(hours=self.certificate_hours)

    @property
    def public_port(self) -> PublicPort:
        """The public port as clients on this machine reach it."""
        return PublicPort(self.port, self.public_certificate)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.public_certificate is None) != (self.public_key is None):
            raise ValueError("AZORA_PUBLIC_CERTIFICATE and AZORA_PUBLIC_KEY must be set together")
        return self

    @property
    def base_url(self) -> str:
        """Base URL of the public API, as tokens and links have it."""
        return self.public_url or f"http://localhost:{self.port}"


def read_settings() -> SystemSettings:
    """Read the settings from the environment. Raises SettingInvalid."""
    try:
        settings = load(SystemSettings)
    except SettingsError as error:
        raise SettingInvalid(problem=error) from None
    paths = {name: getattr(settings, name) for name in ("home", "public_certificate", "public_key")}
    return settings.model_copy(update={name: path and path.expanduser().resolve() for name, path in paths.items()})


def inherited_environment() -> Mapping[str, str]:
    """Return the environment that every process starts from.

    Bytecode is cached there whatever the caller's own habit: four processes that compile all they import start slowly.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def runtime_candidates() -> list[Path]:
    """Return the folders under which sockets may live, the best first."""
    candidates = (os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("TMPDIR"), "/tmp")  # noqa: S108 - made private there
    return [Path(candidate) for candidate in candidates if candidate]
