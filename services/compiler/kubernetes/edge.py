"""Envoy, for whatever Gateway, Ingress or load balancer stands before it, and for calls between services."""

from __future__ import annotations

from services.compiler.contract import ENVOY
from services.compiler.envoy.profiles import ADMIN_PORT, CONFIGURATION, GRPC_PORT, MESH_PORT, PAGES_PORT, PUBLIC_PORT
from services.compiler.kubernetes.resources import (
    IMAGE,
    PART_OF,
    TMP,
    Json,
    Pod,
    account,
    deployment,
    identity,
    memory,
    network,
    scaled,
    service,
    tcp,
)

ENVOY_IMAGE = "envoyproxy/envoy:v1.40.0"
USER = 101
WORKERS = 2
DRAIN_SECONDS = 10
"""Time in which clients, told to leave, finish their calls, and no new ones are sent here any more."""
DRAIN = (
    f"exec 3<>/dev/tcp/127.0.0.1/{ADMIN_PORT}\n"
    r"printf 'POST /drain_listeners?graceful&skip_exit HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n' >&3"
    f"\ncat <&3 >/dev/null\nsleep {DRAIN_SECONDS}\n"
)
"""What happens before SIGTERM, at which Envoy ends at once. The image has bash and no HTTP client."""


def resources() -> list[Json]:
    """Return Envoy. Its bootstrap is compiled as it starts: by the image of the services, and with its settings."""
    volume, mount = identity(ENVOY)
    configuration = {"name": "configuration", "mountPath": CONFIGURATION}
    listening = {"tcpSocket": {"port": PUBLIC_PORT}}
    pod = Pod(
        ENVOY,
        {
            "image": ENVOY_IMAGE,
            "command": [
                *("envoy", "--config-path", f"{CONFIGURATION}/envoy.json", "--disable-hot-restart"),
                *("--concurrency", str(WORKERS), "--log-level", "warning", "--file-flush-interval-msec", "1000"),
                *("--drain-time-s", str(DRAIN_SECONDS // 2), "--drain-strategy", "immediate"),
            ],
            "ports": [{"name": "public", "containerPort": PUBLIC_PORT}, {"name": "mesh", "containerPort": MESH_PORT}],
            # It listens as soon as it knows its upstreams; how they are is for the gateway to say, not for a restart.
            "startupProbe": {**listening, "periodSeconds": 1, "failureThreshold": 60},
            "readinessProbe": {**listening, "periodSeconds": 5},
            "livenessProbe": {**listening, "periodSeconds": 10, "timeoutSeconds": 5},
            "lifecycle": {"preStop": {"exec": {"command": ["bash", "-c", DRAIN]}}},
            "resources": memory("256Mi", "512Mi", "250m", str(WORKERS)),
            "volumeMounts": [configuration | {"readOnly": True}, mount, TMP],
        },
        before=[
            {
                "name": "configuration",
                "image": IMAGE,
                "command": ["python", "-m", "services.compiler.envoy", CONFIGURATION, "--profile", "kubernetes"],
                "envFrom": [{"configMapRef": {"name": "azora"}}],
                "resources": memory("128Mi", "256Mi", "100m", "1"),
                "volumeMounts": [configuration, TMP],
            }
        ],
        volumes=[{"name": "configuration", "emptyDir": {"sizeLimit": "8Mi"}}, volume],
        user=USER,
        grace_seconds=DRAIN_SECONDS + 10,
    )
    members = {"podSelector": {"matchLabels": {PART_OF: "azora"}}}
    return [
        account(ENVOY),
        service(ENVOY, {"http": (80, PUBLIC_PORT), "mesh": (MESH_PORT, MESH_PORT)}),
        deployment(pod),
        *scaled(ENVOY),
        network(
            ENVOY,
            ingress=[
                {"ports": tcp(PUBLIC_PORT)},
                {"from": [members], "ports": tcp(MESH_PORT)},
            ],
            egress=[{"to": [members], "ports": tcp(GRPC_PORT, PAGES_PORT)}],
        ),
    ]
