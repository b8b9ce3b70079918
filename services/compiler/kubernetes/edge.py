"""Envoy, behind any Gateway, Ingress or load balancer, and between services."""

from __future__ import annotations

from services.compiler.contract import ENVOY
from services.compiler.envoy.profiles import ADMIN_PORT, CONFIGURATION, GRPC_PORT, MESH_PORT, PAGES_PORT, PUBLIC_PORT
from services.compiler.kubernetes.resources import (
    IMAGE,
    PART_OF,
    TMP,
    Json,
    Pod,
    autoscaling,
    compute_resources,
    deployment,
    identity,
    network_policy,
    service,
    service_account,
    tcp,
)

ENVOY_IMAGE = "envoyproxy/envoy:v1.40.0"
USER = 101
WORKERS = 2
DRAIN_SECONDS = 10
"""Time for clients to finish calls and leave, and for load balancers to stop sending new ones."""
DRAIN = (
    f"exec 3<>/dev/tcp/127.0.0.1/{ADMIN_PORT}\n"
    r"printf 'POST /drain_listeners?graceful&skip_exit HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n' >&3"
    f"\ncat <&3 >/dev/null\nsleep {DRAIN_SECONDS}\n"
)
"""preStop command: Envoy exits at once on SIGTERM. The image has bash but no HTTP client."""


def resources() -> list[Json]:
    """Return Envoy's resources. An init container with the services' image compiles its bootstrap."""
    volume, mount = identity(ENVOY)
    configuration = {"name": "configuration", "mountPath": CONFIGURATION}
    port_open = {"tcpSocket": {"port": PUBLIC_PORT}}
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
            "startupProbe": {**port_open, "periodSeconds": 1, "failureThreshold": 60},
            "readinessProbe": {**port_open, "periodSeconds": 5},
            "livenessProbe": {**port_open, "periodSeconds": 10, "timeoutSeconds": 5},
            "lifecycle": {"preStop": {"exec": {"command": ["bash", "-c", DRAIN]}}},
            # Twice a service's CPU: it must get to refuse what is too much for them.
            "resources": compute_resources("256Mi", "512Mi", "500m", str(WORKERS)),
            "volumeMounts": [configuration | {"readOnly": True}, mount, TMP],
        },
        init_containers=[
            {
                "name": "configuration",
                "image": IMAGE,
                "command": ["python", "-m", "services.compiler.envoy", CONFIGURATION, "--profile", "kubernetes"],
                "envFrom": [{"configMapRef": {"name": "azora"}}],
                "resources": compute_resources("128Mi", "256Mi", "100m", "1"),
                "volumeMounts": [configuration, TMP],
            }
        ],
        volumes=[{"name": "configuration", "emptyDir": {"sizeLimit": "8Mi"}}, volume],
        user=USER,
        grace_seconds=DRAIN_SECONDS + 10,
    )
    members = {"podSelector": {"matchLabels": {PART_OF: "azora"}}}
    return [
        service_account(ENVOY),
        service(ENVOY, {"http": (80, PUBLIC_PORT), "mesh": (MESH_PORT, MESH_PORT)}),
        deployment(pod),
        *autoscaling(ENVOY),
        network_policy(
            ENVOY,
            ingress=[
                {"ports": tcp(PUBLIC_PORT)},
                {"from": [members], "ports": tcp(MESH_PORT)},
            ],
            egress=[{"to": [members], "ports": tcp(GRPC_PORT, PAGES_PORT)}],
        ),
    ]
