"""A service: its Deployment, Service, NetworkPolicies, and the Job that migrates its database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.contract import ENVOY, GATEWAY
from services.compiler.envoy.profiles import GRPC_PORT, MESH_PORT
from services.compiler.kubernetes import database
from services.compiler.kubernetes.counters import COUNTERS
from services.compiler.kubernetes.resources import (
    COMPONENT,
    IMAGE,
    TMP,
    Json,
    Pod,
    autoscaling,
    compute_resources,
    deployment,
    from_,
    identity,
    network_policy,
    probes,
    resource,
    service,
    service_account,
    tcp,
    to,
)
from services.compiler.kubernetes.settings import COUNTERS_PORT, DATABASE_AUTHORITY, PROBE_PORT, SECRETS

if TYPE_CHECKING:
    from services.compiler.contract import Contract

NOT_PUBLIC = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.168.0.0/16 224.0.0.0/4"
PUBLIC_NETWORKS = [
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": NOT_PUBLIC.split()}},
    {"ipBlock": {"cidr": "2000::/3"}},
]
PUBLIC_PORTS = {"WebhookService": (443,), "MailService": (465, 587)}
"""Ports outside the cluster that the owner of a gRPC service calls: webhooks over HTTPS, SMTP with TLS."""
FINISHED_SECONDS = 600
"""Time after which a finished migration Job is deleted, so that the next release can create its own."""


def resources(contract: Contract, name: str) -> list[Json]:
    """Return the resources of a service, except for its database."""
    pod = _pod(name)
    egress = [
        to(ENVOY, ports=[MESH_PORT]),
        database.egress(name),
        to(COUNTERS, ports=[COUNTERS_PORT]),
    ]
    served = {declared.name for declared in contract.declared if contract.owner(declared) == name}
    for grpc_service in sorted(served & PUBLIC_PORTS.keys()):
        egress += [{"to": PUBLIC_NETWORKS, "ports": tcp(*PUBLIC_PORTS[grpc_service])}]
    return [
        service_account(name),
        # All pods by name, ready or not: Envoy asks each for its health, and learns sooner than Kubernetes does.
        service(name, {"grpc": (GRPC_PORT, GRPC_PORT)}, clusterIP="None", publishNotReadyAddresses=True),
        deployment(pod),
        *autoscaling(name),
        network_policy(name, ingress=[from_(ENVOY, GATEWAY, ports=[GRPC_PORT])], egress=egress),
        _migration(name),
        network_policy(migration(name), ingress=[], egress=[database.egress(name)]),
    ]


def migration(service: str) -> str:
    """Return the name of the migration Job of a service."""
    return f"migrate-{service}"


def _pod(name: str) -> Pod:
    volume, mount = identity(name)
    settings = {"name": "settings", "secret": {"secretName": f"{name}-settings", "defaultMode": 0o440}}
    environment = _environment()
    mounts = [*environment["volumeMounts"], TMP]
    return Pod(
        name,
        {
            **environment,
            "args": ["serve", name],
            "ports": [{"name": "grpc", "containerPort": GRPC_PORT}, {"name": "probes", "containerPort": PROBE_PORT}],
            **probes(),
            "resources": compute_resources("256Mi", "384Mi", "250m", "1"),
            "volumeMounts": [*mounts, mount],
        },
        init_containers=[
            {
                **environment,
                "name": "migrated",  # Waits for the migration Job; pods of the previous release serve meanwhile.
                "args": ["migrate", name, "--wait"],
                "resources": compute_resources("128Mi", "256Mi", "50m", "1"),
                "volumeMounts": mounts,
            }
        ],
        volumes=[settings, database.authority(name), volume],
    )


def _migration(name: str) -> Json:
    """Return the Job that migrates the database with the owner role."""
    sources = [{"secret": {"name": secret}} for secret in (f"{name}-settings", f"{name}-migration")]
    settings = {"name": "settings", "projected": {"sources": sources, "defaultMode": 0o440}}
    environment = _environment()
    pod = Pod(
        migration(name),
        {
            **environment,
            "args": ["migrate", name],
            "resources": compute_resources("128Mi", "256Mi", "50m", "1"),
            "volumeMounts": [*environment["volumeMounts"], TMP],
        },
        volumes=[settings, database.authority(name)],
        service_account=name,
        restart_policy="OnFailure",
    )
    spec = {"backoffLimit": 20, "ttlSecondsAfterFinished": FINISHED_SECONDS, "template": pod.template()}
    job = resource("batch/v1", "Job", migration(name), spec=spec)
    job["metadata"]["labels"] |= {COMPONENT: "migration"}
    return job


def _environment() -> Json:
    return {
        "image": IMAGE,
        "envFrom": [{"configMapRef": {"name": "azora"}}],
        "env": [{"name": "AZORA_SECRETS_DIR", "value": SECRETS}],
        "volumeMounts": [
            {"name": "settings", "mountPath": SECRETS, "readOnly": True},
            {"name": "database-authority", "mountPath": DATABASE_AUTHORITY, "readOnly": True},
        ],
    }
