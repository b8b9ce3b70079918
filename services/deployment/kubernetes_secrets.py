"""The Secrets of deploy/kubernetes: `python -m services.deployment.kubernetes_secrets FILE` adds missing ones.

What is in the file stays, so it may run again at any time. It is for `kubectl apply -f`; where secrets come from a
vault, it shows which ones. Certificates are cert-manager's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.compiler.contract import load_contract
from services.compiler.kubernetes.counters import COUNTERS
from services.compiler.kubernetes.database import cluster
from services.compiler.kubernetes.settings import COUNTERS_PORT, DATABASE_PORT
from services.deployment.database_roles import app_role, owner_role
from services.deployment.files import write_private
from services.deployment.secret_keys import new_password, new_secret_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BASIC = "kubernetes.io/basic-auth"


def make_secrets(file: Path) -> list[str]:
    """Add the missing Secrets to a file, readable by its owner alone; return their names."""
    found: dict[str, Any] = {}
    if file.exists():
        found = {item["metadata"]["name"]: item for item in json.loads(file.read_text())["items"]}
    before = set(found)
    counters = found.setdefault(COUNTERS, _secret(COUNTERS, {"valkey.conf": f"requirepass {new_password()}\n"}))
    password = counters["stringData"]["valkey.conf"].split()[1]
    for service in load_contract().owners:
        if f"{service}-settings" not in found:
            found |= {item["metadata"]["name"]: item for item in _of_service(service, password)}
    content = {"apiVersion": "v1", "kind": "List", "items": list(found.values())}
    write_private(file, f"{json.dumps(content, indent=2)}\n".encode())
    return sorted(set(found) - before)


def _of_service(service: str, counters_password: str) -> list[dict[str, Any]]:
    app, owner = ((role(service), new_password()) for role in (app_role, owner_role))
    name = cluster(service)
    return [
        _secret(
            f"{service}-settings",
            {
                "azora_secret_key": new_secret_key(),
                "azora_database_url": _url(service, app),
                "azora_redis_url": f"redis://:{counters_password}@{COUNTERS}:{COUNTERS_PORT}/0",
            },
        ),
        _secret(f"{service}-migration", {"azora_migration_database_url": _url(service, owner)}),
        *(
            _secret(f"{name}-{role}", {"username": user, "password": password}, kind=BASIC)
            for role, (user, password) in {"app": app, "owner": owner}.items()
        ),
    ]


def _url(service: str, role: tuple[str, str]) -> str:
    return f"postgresql+asyncpg://{role[0]}:{role[1]}@{cluster(service)}-rw:{DATABASE_PORT}/{service}"


def _secret(name: str, content: Mapping[str, str], *, kind: str = "Opaque") -> dict[str, Any]:
    labels = {"app.kubernetes.io/part-of": "azora"}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": metadata, "stringData": dict(content)}


def main(arguments: Sequence[str]) -> None:
    """Make the Secrets in the file that the one argument names."""
    if len(arguments) != 1:
        sys.exit("usage: python -m services.deployment.kubernetes_secrets FILE")
    file = Path(arguments[0])
    new = make_secrets(file)
    sys.stdout.write(f"{file}: {', '.join(new) if new else 'nothing missing'}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
