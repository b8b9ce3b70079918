"""The settings of Envoy in containers, compiled into its bootstrap by `make compose-envoy`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator

from services.shared.rate_limits import RateLimitChanges
from services.shared.settings import (
    DeploymentSettings,
    Environment,
    JwksCacheSeconds,
    OtlpEndpoint,
    PublicUrl,
    Ratio,
    require_https,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")
"""An origin as browsers serialise it (RFC 6454 section 6.2): `*` and `null` are none."""


class EnvoySettings(DeploymentSettings):
    """Settings of Envoy's public port and telemetry, as environment variables with the prefix AZORA_."""

    env: Environment = Environment.PRODUCTION
    """`development` serves gRPC reflection and allows CORS from any origin on localhost."""
    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    """Maximum number of replicas of each service. With two or more, slow reads are asked of a second one as well; the
    circuit breakers of a service allow as many times the calls of one replica."""
    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = 0
    """Number of trusted proxies in front of Envoy whose `X-Forwarded-For` entries are used."""
    public_certificate_dir: Path | None = None
    """Folder on the host with the public port's certificate chain and key, `tls.crt` and `tls.key` (PEM); enables TLS.
    Read again when files are moved into it."""
    cors_origins: str = ""
    """Web origins allowed by CORS, comma-separated: `https://app.example.com`. Must be https in production."""
    rate_limits: RateLimitChanges = ""
    """As for the services. Envoy's flood guard follows it."""
    public_url: PublicUrl = "http://localhost:8080"
    """As for the services: the issuer of access tokens."""
    audience: str = "azora"
    """As for the services: the audience of access tokens."""
    jwks_cache_seconds: JwksCacheSeconds = 60
    """As for the services: maximum age of Envoy's cached public signing keys."""
    otlp_endpoint: OtlpEndpoint = ""
    """OTLP endpoint for Envoy's spans, over gRPC without TLS: `http://collector:4317`. Unset disables export."""
    trace_sample_ratio: Ratio = 1.0
    """Share of new traces that are sampled when an OTLP endpoint is set."""

    def insecure(self) -> Iterator[str]:
        """Yield what production refuses."""
        yield from super().insecure()
        if any(not origin.startswith("https://") for origin in self.origins):
            yield "AZORA_CORS_ORIGINS must be https origins in production"
        yield from require_https("AZORA_PUBLIC_URL", self.public_url)

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_listed(cls, value: str) -> str:
        if not all(ORIGIN.fullmatch(origin) for origin in _listed(value)):
            raise ValueError("must list origins without paths or wildcards: https://app.example.com")
        return value

    @property
    def origins(self) -> tuple[str, ...]:
        """The web origins allowed by CORS."""
        return _listed(self.cors_origins)

    @property
    def development(self) -> bool:
        """Whether this is a development system."""
        return self.env is Environment.DEVELOPMENT


def _listed(origins: str) -> tuple[str, ...]:
    return tuple(origin.strip() for origin in origins.split(",") if origin.strip())
