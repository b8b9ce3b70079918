"""Kubernetes resources of the base, within the Pod Security Standard "restricted"."""

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
"""Label of a database's instances, set by CloudNativePG."""
IMAGE = "azora"
USER = 10001
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
MONITORING = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
"""Namespace of Prometheus and the OpenTelemetry collector."""
DNS = {"ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]}
"""Egress to DNS servers, wherever the cluster has them."""
TRACES = {"to": [MONITORING], "ports": [{"port": OTLP_PORT, "protocol": "TCP"}]}


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod: one container and its init containers."""

    name: str
    container: Json
    init_containers: Sequence[Json] = ()
    volumes: Sequence[Json] = ()
    user: int = USER
    grace_seconds: int = 30
    service_account: str = ""
    """Defaults to `name`."""
    restart_policy: str = ""
    """Of a Job; empty for a Deployment."""

    def template(self) -> Json:
        """Return the pod template."""
        spec: Json = {
            "serviceAccountName": self.service_account or self.name,
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
        if self.restart_policy:
            spec["restartPolicy"] = self.restart_policy
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
        if self.init_containers:
            spec["initContainers"] = [{**each, "securityContext": RESTRICTED} for each in self.init_containers]
        spec["containers"] = [{"name": self.name, **self.container, "securityContext": RESTRICTED}]
        spec["volumes"] = [*self.volumes, {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}]
        return {"metadata": {"labels": self.selector}, "spec": spec}

    @property
    def selector(self) -> dict[str, str]:
        """Labels that select these pods only."""
        return {NAME: self.name}


TMP = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - the container's own


def resource(api: str, kind: str, name: str, **content: Any) -> Json:
    """Return a resource."""
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "labels": {NAME: name}}, **content}


def deployment(pod: Pod, **spec: Any) -> Json:
    """Return a Deployment of a pod, rolled out without ever having fewer replicas than desired."""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    content = {
        "strategy": rolling,
        "revisionHistoryLimit": 3,
        **spec,
        "selector": {"matchLabels": pod.selector},
        "template": pod.template(),
    }
    return resource("apps/v1", "Deployment", pod.name, spec=content)


def service_account(name: str) -> Json:
    """Return a ServiceAccount without access to the Kubernetes API."""
    return resource("v1", "ServiceAccount", name) | {"automountServiceAccountToken": False}


def service(name: str, ports: Mapping[str, tuple[int, int]], **spec: Any) -> Json:
    """Return a Service; `ports` are name to (port, target port)."""
    listed = [
        {"name": port, "port": at, "targetPort": target, "protocol": "TCP"} for port, (at, target) in ports.items()
    ]
    return resource("v1", "Service", name, spec={**spec, "selector": {NAME: name}, "ports": listed})


def autoscaling(name: str) -> list[Json]:
    """Return the HorizontalPodAutoscaler and the PodDisruptionBudget of a Deployment."""
    target = {"type": "Utilization", "averageUtilization": 70}
    scaling = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": MIN_REPLICAS,
        "maxReplicas": MAX_REPLICAS,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    return [resource("autoscaling/v2", "HorizontalPodAutoscaler", name, spec=scaling), disruption_budget(name)]


def disruption_budget(name: str) -> Json:
    """Return a PodDisruptionBudget by which a drained node evicts one pod of a Deployment at a time."""
    budget = {"maxUnavailable": 1, "selector": {"matchLabels": {NAME: name}}}
    return resource("policy/v1", "PodDisruptionBudget", name, spec=budget)


def network_policy(name: str, *, ingress: Sequence[Json], egress: Sequence[Json] | None, label: str = NAME) -> Json:
    """Return a NetworkPolicy; DNS and traces are added to `egress`, and None allows all egress."""
    policy: Json = {"podSelector": {"matchLabels": {label: name}}, "policyTypes": ["Ingress"], "ingress": list(ingress)}
    if egress is not None:
        policy["policyTypes"] = ["Ingress", "Egress"]
        policy["egress"] = [*egress, DNS, TRACES]
    return resource("networking.k8s.io/v1", "NetworkPolicy", name, spec=policy)


def peers(*names: str, label: str = NAME) -> list[Json]:
    """Return the pod selectors of a NetworkPolicy."""
    return [{"podSelector": {"matchExpressions": [{"key": label, "operator": "In", "values": list(names)}]}}]


def to(*names: str, ports: Sequence[int], label: str = NAME) -> Json:
    """Return an egress rule to the pods of these names."""
    return {"to": peers(*names, label=label), "ports": tcp(*ports)}


def from_(*names: str, ports: Sequence[int], label: str = NAME) -> Json:
    """Return an ingress rule from the pods of these names."""
    return {"from": peers(*names, label=label), "ports": tcp(*ports)}


def tcp(*ports: int) -> list[Json]:
    """Return the TCP ports of a NetworkPolicy."""
    return [{"port": port, "protocol": "TCP"} for port in ports]


def probes() -> Json:
    """Return gRPC probes: readiness asks for the server's health, liveness whether the process answers."""
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


def compute_resources(memory: str, memory_limit: str, cpu: str, cpu_limit: str) -> Json:
    """Return the requests and limits of a container's memory and CPU."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu_limit, "memory": memory_limit}}
