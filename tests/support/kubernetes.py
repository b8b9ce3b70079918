"""deploy/kubernetes as it is committed, the schemas it is to satisfy, and its pods as processes see them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import kubernetes_validate
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy/kubernetes"
VERSIONS = ("1.32", "1.37")
"""The oldest and the newest version of Kubernetes that the base is held against."""
SCHEMAS = Path(__file__).parent / "schemas"
"""Of CloudNativePG 1.30 and cert-manager 1.21: `spec` of their CustomResourceDefinitions without prose, closed to
unknown fields; of Issuer the two kinds that are used."""

Json = dict[str, Any]


@cache
def kustomization() -> Json:
    """Return the kustomization of the base."""
    (found,) = _documents(BASE / "kustomization.yaml")
    return found


@cache
def resources() -> list[Json]:
    """Return all resources of the base."""
    return [found for name in kustomization()["resources"] for found in _documents(BASE / name)]


def of_kind(kind: str) -> dict[str, Json]:
    """Return the resources of a kind by name."""
    return {found["metadata"]["name"]: found for found in resources() if found["kind"] == kind}


def pods() -> dict[str, Json]:
    """Return the pod templates of all deployments and jobs by their names."""
    workloads = {**of_kind("Deployment"), **of_kind("Job")}
    return {name: workload["spec"]["template"] for name, workload in workloads.items()}


def labels(pod: Json) -> Json:
    """Return the labels of a pod, with those that kustomize adds."""
    (added,) = kustomization()["labels"]
    return {**pod["metadata"]["labels"], **added["pairs"]}


def environment(container: Json) -> dict[str, str]:
    """Return the environment of a container."""
    (generated,) = kustomization()["configMapGenerator"]
    shared = dict(literal.split("=", 1) for literal in generated["literals"])
    given = {entry["name"]: entry["value"] for entry in container.get("env", ())}
    return (shared if "envFrom" in container else {}) | given


def validate(resource: Mapping[str, Any], version: str) -> None:
    """Hold a resource against its schema. Raises ValidationError; SchemaNotFoundError where there is none."""
    group, kind = resource["apiVersion"].partition("/")[0], resource["kind"]
    if group in ("postgresql.cnpg.io", "cert-manager.io"):
        jsonschema.validate(resource, json.loads((SCHEMAS / f"{kind.lower()}.json").read_text()))
    else:
        kubernetes_validate.validate(dict(resource), version, strict=True)


def documents(text: str) -> Iterator[Json]:
    """Read YAML."""
    yield from yaml.load_all(text, Loader=yaml.CSafeLoader)


def _documents(path: Path) -> list[Json]:
    return list(documents(path.read_text()))
