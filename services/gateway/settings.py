"""Settings of the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode

from services.shared.settings import MeshSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

Targets = dict[str, tuple[str, ...]]


class GatewaySettings(MeshSettings):
    """Settings of the gateway process, which has no database. It verifies access tokens for the console only."""

    http_listen: str
    """Listen address of the HTTP app: `unix:/run/azora/gateway-http.sock`, or `0.0.0.0:8081` with mutual TLS."""
    metrics_listen: str = ""
    """Listen addresses for `/metrics` of all processes, plain HTTP for Prometheus: `127.0.0.1:9464`, `unix:...`,
    comma-separated.

    Must not be reachable by clients. No metrics are served if unset.
    """
    traces_listen: Annotated[str, Field(pattern=r"^(unix:/.+)?$")] = ""
    """Unix socket on which traces are received over OTLP for the console: `unix:/run/azora/traces.sock`. Development
    only. No traces are received if unset."""
    services: Annotated[Targets, NoDecode]
    """gRPC addresses of the services, for health checks: `auth=unix:/run/azora/auth.sock,payment=payment:50051`.

    Repeat a service's name for each of its replicas. A host name with several addresses is as many replicas; it is
    resolved every 5 seconds.
    """

    def insecure(self) -> Iterator[str]:
        """Yield what production refuses."""
        yield from super().insecure()
        if self.traces_listen:
            yield "AZORA_TRACES_LISTEN must not be set in production"

    @property
    def has_console(self) -> bool:
        """Whether the console's data are served: in development, where Auth can be asked whose token it is."""
        return not self.production and bool(self.mesh_target)

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
