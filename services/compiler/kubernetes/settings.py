"""Ports, paths and settings that resources of the base share."""

from __future__ import annotations

from services.compiler.contract import ENVOY
from services.compiler.envoy.profiles import GRPC_PORT, IDENTITY, MESH_PORT

PROBE_PORT = 50052
"""Health checks only, in plain text: kubelet probes speak no TLS."""
METRICS_PORT = 9464
DATABASE_PORT = 5432
COUNTERS_PORT = 6379
OTLP_PORT = 4317
SECRETS = "/run/secrets/azora"
DATABASE_AUTHORITY = "/run/database"
MIN_REPLICAS = 2
MAX_REPLICAS = 6
"""Maximum replicas of a service and of Envoy. Envoy's circuit breakers are compiled for it."""


def settings() -> dict[str, str]:
    """Return the ConfigMap of all containers with our image."""
    return {
        "AZORA_ENV": "production",
        "AZORA_LISTEN": f"0.0.0.0:{GRPC_PORT}",
        "AZORA_HEALTH_LISTEN": f"0.0.0.0:{PROBE_PORT}",
        "AZORA_TLS_CERTIFICATE": f"{IDENTITY}/tls.crt",
        "AZORA_TLS_KEY": f"{IDENTITY}/tls.key",
        "AZORA_TLS_AUTHORITY": f"{IDENTITY}/ca.crt",
        "AZORA_MESH_TARGET": f"{ENVOY}:{MESH_PORT}",
        "AZORA_REPLICAS": str(MAX_REPLICAS),
        "AZORA_TRUSTED_PROXIES": "1",
        # PostgreSQL's own variables: its server is verified by the authority of its cluster.
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": f"{DATABASE_AUTHORITY}/ca.crt",
    }
