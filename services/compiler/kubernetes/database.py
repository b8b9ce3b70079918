"""A PostgreSQL cluster for each service, run by CloudNativePG."""

from __future__ import annotations

from services.compiler.kubernetes.resources import DATABASE, Json, from_, network_policy, resource, tcp, to
from services.compiler.kubernetes.settings import DATABASE_PORT
from services.deployment.database_roles import app_role, grants, owner_role

INSTANCES = 3
STATUS_PORT = 8000
"""Port on which the operator and other instances ask an instance for its status."""
OPERATOR = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "cnpg-system"}}}


def cluster(service: str) -> str:
    """Return the name of a service's cluster."""
    return f"{service}-db"


def authority(service: str) -> Json:
    """Return the volume with the CA certificate of a service's database."""
    items = [{"key": "ca.crt", "path": "ca.crt"}]
    return {"name": "database-authority", "secret": {"secretName": f"{cluster(service)}-ca", "items": items}}


def egress(service: str) -> Json:
    """Return the egress rule to a service's database."""
    return to(cluster(service), label=DATABASE, ports=[DATABASE_PORT])


def resources(service: str) -> list[Json]:
    """Return a service's Cluster and its NetworkPolicy."""
    name = cluster(service)
    spec = {
        "instances": INSTANCES,
        "enableSuperuserAccess": False,
        "enablePDB": True,
        "storage": {"size": "20Gi"},
        "walStorage": {"size": "10Gi"},
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        "postgresql": {
            "parameters": {
                "max_connections": "200",
                "shared_buffers": "256MB",
                "log_error_verbosity": "terse",  # Or a failed statement's values are logged.
            },
            # A commit is acknowledged once a second instance has it: losing the primary loses nothing.
            "synchronous": {"method": "any", "number": 1, "dataDurability": "required"},
        },
        "bootstrap": {
            "initdb": {
                "database": service,
                "owner": owner_role(service),
                "secret": {"name": f"{name}-owner"},
                "encoding": "UTF8",
                "localeProvider": "builtin",
                "builtinLocale": "C.UTF-8",
                "localeCollate": "C",
                "localeCType": "C",
                "postInitSQL": [f"CREATE ROLE {app_role(service)} LOGIN"],
                "postInitApplicationSQL": grants(service, service),
            }
        },
        "managed": {
            "roles": [
                {
                    "name": app_role(service),
                    "ensure": "present",
                    "login": True,
                    "passwordSecret": {"name": f"{name}-app"},
                }
            ]
        },
    }
    return [
        resource("postgresql.cnpg.io/v1", "Cluster", name, spec=spec),
        network_policy(
            name,
            label=DATABASE,
            ingress=[
                from_(service, f"migrate-{service}", ports=[DATABASE_PORT]),
                from_(name, label=DATABASE, ports=[STATUS_PORT, DATABASE_PORT]),
                {"from": [OPERATOR], "ports": tcp(STATUS_PORT, DATABASE_PORT)},
            ],
            egress=None,  # An instance talks to the others, to Kubernetes, and to where its backups are.
        ),
    ]
