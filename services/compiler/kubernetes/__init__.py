"""Compiles the contract into a kustomize base: services, gateway, Envoy, databases, counters, certificates.

for name, resources in kubernetes_files(load_contract()).items():
    ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.contract import ENVOY, GATEWAY
from services.compiler.kubernetes import certificates, counters, database, edge, gateway, service
from services.compiler.kubernetes.resources import PART_OF, Json
from services.compiler.kubernetes.settings import settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.compiler.contract import Contract

__all__ = ["kubernetes_files"]


def kubernetes_files(contract: Contract) -> Mapping[str, Sequence[Json]]:
    """Return the resources of each file of the base by file name, including kustomization.yaml."""
    identities = (*contract.owners, GATEWAY, ENVOY)
    files = {
        "certificates.yaml": certificates.resources(identities),
        "counters.yaml": counters.resources(contract.owners),
        "envoy.yaml": edge.resources(),
        "gateway.yaml": gateway.resources(contract.owners),
    }
    for name in contract.owners:
        files[f"{name}.yaml"] = [*service.resources(contract, name), *database.resources(name)]
    kustomization: Json = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(files),
        "labels": [{"pairs": {PART_OF: "azora"}, "includeTemplates": True}],
        "configMapGenerator": [
            {"name": "azora", "literals": [f"{name}={value}" for name, value in settings().items()]}
        ],
        "images": [{"name": "azora", "newTag": "local"}],
    }
    return {**files, "kustomization.yaml": [kustomization]}
