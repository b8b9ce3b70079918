"""The gateway: the health of the whole system, its pages, and the metrics of all processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.contract import ENVOY, GATEWAY
from services.compiler.envoy.profiles import GRPC_PORT, MESH_PORT, PAGES_PORT
from services.compiler.kubernetes.resources import (
    IMAGE,
    MONITORING,
    TMP,
    Json,
    Pod,
    compute_resources,
    deployment,
    disruption_budget,
    from_,
    identity,
    network_policy,
    probes,
    service,
    service_account,
    tcp,
    to,
)
from services.compiler.kubernetes.settings import METRICS_PORT, MIN_REPLICAS, PROBE_PORT

if TYPE_CHECKING:
    from collections.abc import Sequence

METRICS = f"{GATEWAY}-metrics"


def resources(services: Sequence[str]) -> list[Json]:
    """Return the gateway, which asks these services."""
    volume, mount = identity(GATEWAY)
    environment = {
        "AZORA_HTTP_LISTEN": f"0.0.0.0:{PAGES_PORT}",
        "AZORA_METRICS_LISTEN": f"0.0.0.0:{METRICS_PORT}",
        "AZORA_SERVICES": ",".join(f"{name}={name}:{GRPC_PORT}" for name in services),
    }
    ports = {"grpc": GRPC_PORT, "probes": PROBE_PORT, "pages": PAGES_PORT, "metrics": METRICS_PORT}
    pod = Pod(
        GATEWAY,
        {
            "image": IMAGE,
            "args": ["serve", GATEWAY],
            "envFrom": [{"configMapRef": {"name": "azora"}}],
            "env": [{"name": name, "value": value} for name, value in environment.items()],
            "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
            **_probes(),
            "resources": compute_resources("128Mi", "256Mi", "100m", "1"),
            "volumeMounts": [mount, TMP],
        },
        volumes=[volume],
    )
    scraped = service(METRICS, {"metrics": (METRICS_PORT, METRICS_PORT)}, sessionAffinity="ClientIP")
    scraped["spec"]["selector"] = pod.selector  # Each shows all processes: a scraper is to stay with one of them.
    return [
        service_account(GATEWAY),
        service(
            GATEWAY,
            {"grpc": (GRPC_PORT, GRPC_PORT), "pages": (PAGES_PORT, PAGES_PORT)},
            clusterIP="None",
            publishNotReadyAddresses=True,
        ),
        scraped,
        deployment(pod, replicas=MIN_REPLICAS),
        disruption_budget(GATEWAY),
        network_policy(
            GATEWAY,
            ingress=[
                from_(ENVOY, ports=[GRPC_PORT, PAGES_PORT]),
                {"from": [MONITORING], "ports": tcp(METRICS_PORT)},
            ],
            egress=[to(*services, ports=[GRPC_PORT]), to(ENVOY, ports=[MESH_PORT])],
        ),
    ]


def _probes() -> Json:
    """Return probes of the process alone: as a whole it answers for all services."""
    own = probes()
    return own | {"readinessProbe": own["readinessProbe"] | {"grpc": own["livenessProbe"]["grpc"]}}
