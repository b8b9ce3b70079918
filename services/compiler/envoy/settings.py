"""The settings of Envoy in containers, compiled into its bootstrap by `make compose-envoy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.shared.settings import Environment, OtlpEndpoint, Ratio


class EnvoySettings(BaseSettings):
    """Settings of Envoy's public port and telemetry, as environment variables with the prefix AZORA_."""

    model_config = SettingsConfigDict(env_prefix="AZORA_", frozen=True, extra="ignore", use_attribute_docstrings=True)

    env: Environment = Environment.PRODUCTION
    """`development` serves gRPC reflection and allows CORS from any origin on localhost."""
    scaled: bool = False
    """Whether every service has two replicas or more: slow reads are then asked of a second one as well."""
    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = 0
    """Number of trusted proxies in front of Envoy whose `X-Forwarded-For` entries are used."""
    public_certificate: Path | None = None
    """Certificate chain of the public port (PEM, path on the host); enables TLS."""
    public_key: Path | None = None
    """Private key of the public port's certificate (PEM, path on the host)."""
    cors_origins: str = ""
    """Web origins allowed by CORS, separated by commas: `https://app.example.com`."""
    otlp_endpoint: OtlpEndpoint = ""
    """OTLP endpoint for Envoy's spans, over gRPC without TLS: `http://collector:4317`. Unset disables export."""
    trace_sample_ratio: Ratio = 1.0
    """Share of new traces that are sampled when an OTLP endpoint is set."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.public_certificate is None) != (self.public_key is None):
            raise ValueError("AZORA_PUBLIC_CERTIFICATE and AZORA_PUBLIC_KEY must be set together")
        return self

    @property
    def origins(self) -> tuple[str, ...]:
        """The web origins allowed by CORS."""
        return tuple(origin.strip() for origin in self.cors_origins.split(",") if origin.strip())

    @property
    def development(self) -> bool:
        """Whether this is a development system."""
        return self.env is Environment.DEVELOPMENT
