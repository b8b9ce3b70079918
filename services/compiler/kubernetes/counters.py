"""Valkey, which holds the rate-limit counters of all replicas. One replica: services fall back to local counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.kubernetes.resources import (
    Json,
    Pod,
    compute_resources,
    deployment,
    from_,
    network_policy,
    service,
    service_account,
)
from services.compiler.kubernetes.settings import COUNTERS_PORT

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNTERS = "valkey"
IMAGE = "valkey/valkey:9.1.1-alpine"
USER = 999
FOLDER = "/run/valkey"
OPTIONS = {"save": "", "maxmemory": "96mb", "maxmemory-policy": "volatile-ttl"}


def resources(services: Sequence[str]) -> list[Json]:
    """Return Valkey, reachable from these services."""
    options = [word for name, value in OPTIONS.items() for word in (f"--{name}", value)]
    ping = {"exec": {"command": ["sh", "-c", "valkey-cli ping 2>&1 | grep -qE 'PONG|NOAUTH'"]}}
    pod = Pod(
        COUNTERS,
        {
            "image": IMAGE,
            "command": ["valkey-server", f"{FOLDER}/valkey.conf", *options],
            "workingDir": "/tmp",  # noqa: S108 - the container's own
            "ports": [{"name": "valkey", "containerPort": COUNTERS_PORT}],
            "readinessProbe": {**ping, "periodSeconds": 5, "timeoutSeconds": 3},
            "livenessProbe": {**ping, "periodSeconds": 10, "timeoutSeconds": 5},
            "resources": compute_resources("64Mi", "128Mi", "50m", "500m"),
            "volumeMounts": [
                {"name": "settings", "mountPath": FOLDER, "readOnly": True},
                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            ],
        },
        volumes=[{"name": "settings", "secret": {"secretName": COUNTERS, "defaultMode": 0o440}}],
        user=USER,
    )
    return [
        service_account(COUNTERS),
        service(COUNTERS, {"valkey": (COUNTERS_PORT, COUNTERS_PORT)}),
        deployment(pod, replicas=1, strategy={"type": "Recreate"}),
        network_policy(COUNTERS, ingress=[from_(*services, ports=[COUNTERS_PORT])], egress=[]),
    ]
