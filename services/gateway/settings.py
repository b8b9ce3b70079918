"""Settings of the gateway."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import field_validator, model_validator
from pydantic_settings import NoDecode

from services.shared.settings import ServerSettings

Targets = dict[str, tuple[str, ...]]


class GatewaySettings(ServerSettings):
    """Settings of the gateway process, which has no database and calls the services for health checks only."""

    http_listen: str
    """Listen address of the HTTP app: `unix:/run/azora/gateway-http.sock`, or `0.0.0.0:8081` with mutual TLS."""
    metrics_listen: str = ""
    """Listen addresses for `/metrics` of all processes, plain HTTP for Prometheus: `127.0.0.1:9464`, `unix:...`,
    comma-separated.

    Must not be reachable by clients. No metrics are served if unset.
    """
    services: Annotated[Targets, NoDecode]
    """gRPC addresses of the services, for health checks: `auth=unix:/run/azora/auth.sock,payment=payment:50051`.

    Repeat a service's name for each of its replicas.
    """

    mesh_target: str = ""
    """Envoy's mesh listener: `unix:/run/azora/mesh.sock` or `envoy:9443`.

    When set, a service is healthy once calls reach it through Envoy.
    """

    @field_validator("services", mode="before")
    @classmethod
    def _named_addresses(cls, value: str) -> Targets:
        targets: Targets = {}
        for entry in value.split(","):
            name, equals, target = entry.strip().partition("=")
            if not (name and equals and target):
                raise ValueError("must have the form auth=unix:/run/azora/auth.sock,payment=payment:50051")
            targets[name] = (*targets.get(name, ()), target)
        return targets

    @model_validator(mode="after")
    def _pages_over_tcp_are_secured(self) -> Self:
        if not self.http_listen.startswith("unix:") and self.mutual_tls is None:
            raise ValueError(
                "AZORA_HTTP_LISTEN is a TCP address, which requires AZORA_TLS_CERTIFICATE, _KEY and _AUTHORITY"
            )
        return self
