"""Kubernetes' resources as the parts of the base have them, within the Pod Security Standard "restricted"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.compiler.envoy.profiles import IDENTITY
from services.compiler.kubernetes.settings import MAX_REPLICAS, MIN_REPLICAS, OTLP_PORT, PROBE_PORT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Json = dict[str, Any]
"""A resource, or a part of one."""

NAME, COMPONENT, PART_OF = (f"app.kubernetes.io/{label}" for label in ("name", "component", "part-of"))
DATABASE = "cnpg.io/cluster"
"""The label of the instances of a database, as CloudNativePG sets it."""
IMAGE = "azora"
USER = 10001
CLOSED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
MONITORING = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
"""Where Prometheus and the OpenTelemetry collector are."""
NAMES = {"ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]}
"""DNS, wherever a cluster has its servers."""
TRACES = {"to": [MONITORING], "ports": [{"port": OTLP_PORT, "protocol": "TCP"}]}


@dataclass(frozen=True, slots=True)
class Pod:
    """What runs in a pod: one container, and those before it."""

    name: str
    container: Json
    before: Sequence[Json] = ()
    volumes: Sequence[Json] = ()
    user: int = USER
    grace_seconds: int = 30
    account: str = ""
    """Its service account; that of its name unless given."""
    restarts: str = ""
    """The restart policy of a job."""

    def template(self) -> Json:
        """Return the pod template."""
        spec: Json = {
            "serviceAccountName": self.account or self.name,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": self.grace_seconds,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": self.user,
                "runAsGroup": self.user,
                "fsGroup": self.user,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        if self.restarts:
            spec["restartPolicy"] = self.restarts
        else:
            spec["topologySpreadConstraints"] = [
                {
                    "maxSkew": 1,
                    "topologyKey": key,
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": self.selector},
                }
                for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
            ]
        if self.before:
            spec["initContainers"] = [{**each, "securityContext": CLOSED} for each in self.before]
        spec["containers"] = [{"name": self.name, **self.container, "securityContext": CLOSED}]
        spec["volumes"] = [*self.volumes, {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}]
        return {"metadata": {"labels": self.selector}, "spec": spec}

    @property
    def selector(self) -> dict[str, str]:
        """The labels that tell these pods from all others."""
        return {NAME: self.name}


TMP = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - the container's own


def resource(api: str, kind: str, name: str, **content: Any) -> Json:
    """Return a resource."""
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "labels": {NAME: name}}, **content}


def deployment(pod: Pod, **spec: Any) -> Json:
    """Return a deployment of a pod, which always has as many as it is to have."""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    content = {
        "strategy": rolling,
        "revisionHistoryLimit": 3,
        **spec,
        "selector": {"matchLabels": pod.selector},
        "template": pod.template(),
    }
    return resource("apps/v1", "Deployment", pod.name, spec=content)


def account(name: str) -> Json:
    """Return a service account, which may do nothing with the cluster."""
    return resource("v1", "ServiceAccount", name) | {"automountServiceAccountToken": False}


def service(name: str, ports: Mapping[str, tuple[int, int]], **spec: Any) -> Json:
    """Return a Service: names of ports with theirs and those of its pods."""
    listed = [
        {"name": port, "port": at, "targetPort": target, "protocol": "TCP"} for port, (at, target) in ports.items()
    ]
    return resource("v1", "Service", name, spec={**spec, "selector": {NAME: name}, "ports": listed})


def scaled(name: str) -> list[Json]:
    """Return what scales a deployment with its load, and keeps it up while nodes are drained."""
    target = {"type": "Utilization", "averageUtilization": 70}
    autoscaling = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": MIN_REPLICAS,
        "maxReplicas": MAX_REPLICAS,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    return [resource("autoscaling/v2", "HorizontalPodAutoscaler", name, spec=autoscaling), undisturbed(name)]


def undisturbed(name: str) -> Json:
    """Return what keeps all but one pod of a deployment up while nodes are drained."""
    budget = {"maxUnavailable": 1, "selector": {"matchLabels": {NAME: name}}}
    return resource("policy/v1", "PodDisruptionBudget", name, spec=budget)


def network(name: str, *, ingress: Sequence[Json], egress: Sequence[Json] | None, label: str = NAME) -> Json:
    """Return what may reach the pods of a name, and what they may reach, names and traces included; None: anything."""
    policy: Json = {"podSelector": {"matchLabels": {label: name}}, "policyTypes": ["Ingress"], "ingress": list(ingress)}
    if egress is not None:
        policy["policyTypes"] = ["Ingress", "Egress"]
        policy["egress"] = [*egress, NAMES, TRACES]
    return resource("networking.k8s.io/v1", "NetworkPolicy", name, spec=policy)


def peers(*names: str, label: str = NAME) -> list[Json]:
    """Return the pods of these names, for a network policy."""
    return [{"podSelector": {"matchExpressions": [{"key": label, "operator": "In", "values": list(names)}]}}]


def to(*names: str, ports: Sequence[int], label: str = NAME) -> Json:
    """Return a rule of egress to the pods of these names."""
    return {"to": peers(*names, label=label), "ports": tcp(*ports)}


def from_(*names: str, ports: Sequence[int], label: str = NAME) -> Json:
    """Return a rule of ingress from the pods of these names."""
    return {"from": peers(*names, label=label), "ports": tcp(*ports)}


def tcp(*ports: int) -> list[Json]:
    """Return ports for a network policy."""
    return [{"port": port, "protocol": "TCP"} for port in ports]


def probes() -> Json:
    """Return Kubernetes' own gRPC probes: ready is who can work, alive is who answers at all."""
    process = {"grpc": {"port": PROBE_PORT, "service": "grpc.health.v1.Health"}}
    return {
        "startupProbe": {**process, "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {**process, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
        "readinessProbe": {"grpc": {"port": PROBE_PORT}, "periodSeconds": 5, "timeoutSeconds": 2},
    }


def identity(name: str) -> tuple[Json, Json]:
    """Return the volume of a mesh identity, which cert-manager renews in place, and its mount."""
    volume = {"name": "identity", "secret": {"secretName": identity_secret(name), "defaultMode": 0o440}}
    return volume, {"name": "identity", "mountPath": IDENTITY, "readOnly": True}


def identity_secret(name: str) -> str:
    """Return the name of the Secret of a mesh identity."""
    return f"{name}-identity"


def memory(requested: str, limit: str, cpu: str, cpu_limit: str) -> Json:
    """Return what a container is given of a node."""
    return {"requests": {"cpu": cpu, "memory": requested}, "limits": {"cpu": cpu_limit, "memory": limit}}
