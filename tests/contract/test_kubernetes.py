"""The kustomize base: valid, closed, and consistent with the settings, ports and identities of what runs in it."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from services.compiler.contract import ENVOY, GATEWAY, load_contract
from services.compiler.envoy.__main__ import main as compile_envoy
from services.compiler.envoy.tls import identity
from services.compiler.kubernetes import kubernetes_files
from services.deployment.kubernetes_secrets import make_secrets
from services.deployment.pki import ensure_pki, identities, identity_names
from services.shared.settings import load
from tests.support.compose import containers as composed
from tests.support.compose import settings_class
from tests.support.edge import check_envoy_takes
from tests.support.kubernetes import (
    BASE,
    VERSIONS,
    environment,
    kustomization,
    labels,
    of_kind,
    pods,
    resources,
    validate,
)
from tests.support.services import SERVED, SERVICES

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "app.kubernetes.io/name"
CONTAINERS = [
    (pod, container["name"])
    for pod, template in pods().items()
    for container in (*template["spec"].get("initContainers", ()), *template["spec"]["containers"])
]
OURS = [name for name in pods() if name not in (ENVOY, "valkey")]


def container_of(pod: str, name: str) -> dict[str, Any]:
    spec = pods()[pod]["spec"]
    found: dict[str, Any] = next(
        each for each in (*spec.get("initContainers", ()), *spec["containers"]) if each["name"] == name
    )
    return found


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Make all Secrets; give the content of each by name."""
    file = tmp_path_factory.mktemp("made") / "secrets.json"
    make_secrets(file)
    return {item["metadata"]["name"]: item["stringData"] for item in json.loads(file.read_text())["items"]}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_satisfies_its_schema(version: str) -> None:
    for resource in resources():
        validate(resource, version)
    cluster = of_kind("Cluster")["auth-db"]
    with pytest.raises(jsonschema.ValidationError, match="instancez"):
        validate({**cluster, "spec": {**cluster["spec"], "instancez": 3}}, version)


def test_names_are_unique_and_every_file_is_in_the_base() -> None:
    names = [(each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in resources()]
    assert len(names) == len(set(names))
    assert {path.name for path in BASE.iterdir()} == {*kustomization()["resources"], "kustomization.yaml"}
    assert set(kubernetes_files(load_contract())) == {path.name for path in BASE.iterdir()}


def test_all_services_run_and_scale_and_survive_the_drain_of_a_node() -> None:
    assert of_kind("Deployment").keys() == {*SERVED, ENVOY, "valkey"}
    assert of_kind("Job").keys() == {f"migrate-{name}" for name in SERVICES}
    assert of_kind("HorizontalPodAutoscaler").keys() == {*SERVICES, ENVOY}
    assert of_kind("PodDisruptionBudget").keys() == {*SERVED, ENVOY}
    for name, scaler in of_kind("HorizontalPodAutoscaler").items():
        spec = scaler["spec"]
        assert spec["minReplicas"] >= 2, "a pod that is replaced has a twin"
        assert "replicas" not in of_kind("Deployment")[name]["spec"], "or every apply undoes the scaling"
        assert str(spec["maxReplicas"]) == environment(container_of("auth", "auth"))["AZORA_REPLICAS"]
    for budget in of_kind("PodDisruptionBudget").values():
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels(pods()[budget["metadata"]["name"]]).items()


@pytest.mark.parametrize(("pod", "name"), CONTAINERS)
def test_containers_may_do_no_more_than_they_need(pod: str, name: str) -> None:
    """The Pod Security Standard "restricted", and read-only file systems."""
    spec, container = pods()[pod]["spec"], container_of(pod, name)
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] in of_kind("ServiceAccount")
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} == set(container["resources"]["requests"]) == set(container["resources"]["limits"])
    assert set(chain(*(volume.keys() for volume in spec["volumes"]))) <= {"name", "secret", "projected", "emptyDir"}


@pytest.mark.parametrize("pod", OURS)
def test_what_a_container_is_told_are_settings_of_its_service(
    pod: str, secrets: dict[str, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = pods()[pod]["spec"]["serviceAccountName"]
    for container in (container_of(pod, name) for owner, name in CONTAINERS if owner == pod):
        told = environment(container)
        for variable in [name for name in told if name.startswith("AZORA_")]:
            monkeypatch.setenv(variable, told[variable])
        if "AZORA_SECRETS_DIR" in told:
            for key, value in mounted_secrets(pod, container, secrets).items():
                (tmp_path / key).write_text(value)
            monkeypatch.setenv("AZORA_SECRETS_DIR", str(tmp_path))
        settings = load(settings_class(service))
        assert settings.production
        assert settings.mutual_tls
        if container["name"] in SERVED:
            assert {mount_of(container, path) for path in settings.mutual_tls} == {"identity"}
        assert service in container["args"]
    given = {f"azora_{name}" for name in settings.model_fields_set}
    assert {path.name for path in tmp_path.iterdir()} <= given


def mounted_secrets(pod: str, container: dict[str, Any], secrets: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return what a container finds in the folder of its secrets."""
    assert mount_of(container, Path(environment(container)["AZORA_SECRETS_DIR"]) / "x") == "settings"
    (volume,) = [each for each in pods()[pod]["spec"]["volumes"] if each["name"] == "settings"]
    if "secret" in volume:
        return secrets[volume["secret"]["secretName"]]
    found: dict[str, str] = {}
    for source in volume["projected"]["sources"]:
        found |= secrets[source["secret"]["name"]]
    return found


def mount_of(container: dict[str, Any], path: Path) -> str:
    """Return the volume in whose mount a path is."""
    return next((each["name"] for each in container["volumeMounts"] if each["mountPath"] == str(path.parent)), "")


def test_every_secret_is_made_and_used(secrets: dict[str, dict[str, str]]) -> None:
    volumes = list(chain(*(pod["spec"]["volumes"] for pod in pods().values())))
    mounted = {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}
    mounted |= {each["secret"]["name"] for volume in volumes for each in volume.get("projected", {}).get("sources", ())}
    for cluster in of_kind("Cluster").values():
        mounted.add(cluster["spec"]["bootstrap"]["initdb"]["secret"]["name"])
        mounted |= {role["passwordSecret"]["name"] for role in cluster["spec"]["managed"]["roles"]}
    by_cert_manager = {each["spec"]["secretName"] for each in of_kind("Certificate").values()} - {"mesh-authority"}
    by_cloudnativepg = {f"{name}-ca" for name in of_kind("Cluster")}
    assert mounted == {*secrets, *by_cert_manager, *by_cloudnativepg}


def test_the_owner_of_a_database_is_known_to_its_migration_alone(secrets: dict[str, dict[str, str]]) -> None:
    for pod, template in pods().items():
        text = json.dumps(template["spec"]["volumes"])
        assert ("-migration" in text) == (pod in of_kind("Job"))
        assert not any(f'"{other}-' in text for other in SERVICES if other != template["spec"]["serviceAccountName"])
    for service in SERVICES:
        url = secrets[f"{service}-migration"]["azora_migration_database_url"]
        for role in ("owner", "app"):
            named = secrets[f"{service}-db-{role}"]
            expected = url if role == "owner" else secrets[f"{service}-settings"]["azora_database_url"]
            assert f"//{named['username']}:{named['password']}@{service}-db-rw:5432/{service}" in expected
        (role,) = of_kind("Cluster")[f"{service}-db"]["spec"]["managed"]["roles"]
        assert role["name"] == secrets[f"{service}-db-app"]["username"]


def test_identities_are_those_of_the_mesh_and_renewed_in_place(tmp_path: Path) -> None:
    certificates = {each["spec"]["secretName"]: each["spec"] for each in of_kind("Certificate").values()}
    assert certificates.keys() == {*(f"{name}-identity" for name in identities()), "mesh-authority"}
    ensure_pki(tmp_path)
    for name in identities():
        spec = certificates[f"{name}-identity"]
        uris, names = identity_names(tmp_path / f"{name}.crt")
        assert spec["uris"] == uris == [identity(name)]
        assert sorted(spec["dnsNames"]) == sorted(names)
        assert int(spec["duration"][:-1]) <= 24
        assert spec["privateKey"]["rotationPolicy"] == "Always"
        (volume,) = [each for each in pods()[name]["spec"]["volumes"] if each["name"] == "identity"]
        assert volume["secret"]["secretName"] == f"{name}-identity"
        mounts = [each for each in container_of(name, name)["volumeMounts"] if each["name"] == "identity"]
        assert [set(mount) for mount in mounts] == [{"name", "mountPath", "readOnly"}], "a subPath is never renewed"


def test_the_kubelet_asks_by_grpc_where_health_is_served_without_tls() -> None:
    for name in SERVED:
        container = container_of(name, name)
        port = int(environment(container)["AZORA_HEALTH_LISTEN"].rpartition(":")[2])
        probes = {kind: container[f"{kind}Probe"]["grpc"] for kind in ("startup", "liveness", "readiness")}
        assert {probe["port"] for probe in probes.values()} == {port}
        assert probes["liveness"]["service"] == probes["startup"]["service"] == "grpc.health.v1.Health"
        assert probes["readiness"].get("service", "") == ("grpc.health.v1.Health" if name == GATEWAY else "")
        seconds = pods()[name]["spec"]["terminationGracePeriodSeconds"]
        assert seconds > load_defaults(name, "drain_seconds") + load_defaults(name, "grace_seconds")


def load_defaults(service: str, field: str) -> float:
    return float(settings_class(service).model_fields[field].default)


def test_images_are_those_of_compose() -> None:
    images = {container_of(pod, name)["image"] for pod, name in CONTAINERS}
    foreign = {composed()[name]["image"] for name in (ENVOY, "valkey")}
    assert images == {"azora", *foreign}
    users = {name: str(pod["spec"]["securityContext"]["runAsUser"]) for name, pod in pods().items()}
    for name, user in users.items():
        assert composed()[name]["user"].partition(":")[0] == user


def test_envoy_has_a_worker_for_each_of_its_cpus_and_logs_within_a_second() -> None:
    """Its own defaults are a worker for each CPU of the machine, and ten seconds."""
    pod, container = container_of(ENVOY, ENVOY), composed()[ENVOY]
    for command, cpus in (
        (pod["command"], pod["resources"]["limits"]["cpu"]),
        (container["command"], container["deploy"]["resources"]["limits"]["cpus"]),
    ):
        assert float(command[command.index("--concurrency") + 1]) == float(cpus)
        assert command[command.index("--file-flush-interval-msec") + 1] == "1000"


def test_envoy_takes_what_its_pod_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = pods()[ENVOY]["spec"]["initContainers"]
    folder = container["command"][3]
    for name, value in environment(container).items():
        monkeypatch.setenv(name, value)
    compile_envoy([str(tmp_path), *container["command"][4:]])
    committed = (BASE.parents[1] / "envoy/kubernetes.json").read_text()
    assert (tmp_path / "envoy.json").read_text() == committed
    ensure_pki(tmp_path / "pki")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / "pki" / name).write_bytes((tmp_path / "pki" / name.replace("tls", ENVOY)).read_bytes())
    for path in (tmp_path / "envoy.json", *(tmp_path / "discovery").iterdir()):
        path.write_text(path.read_text().replace(folder, str(tmp_path)).replace("/run/pki", f"{tmp_path}/pki"))
    check_envoy_takes(tmp_path / "envoy.json")
    command = container_of(ENVOY, ENVOY)["command"]
    assert command[command.index("--config-path") + 1] == f"{folder}/envoy.json"


def connections() -> Iterator[tuple[str, str, int]]:
    """Return who calls whom on which port, as configurations have it."""
    bootstrap = json.loads((BASE.parents[1] / "envoy/kubernetes.json").read_text())
    for address in found(bootstrap["static_resources"]["clusters"], "socket_address"):
        yield ENVOY, address["address"], address["port_value"]
    mesh = environment(container_of("auth", "auth"))["AZORA_MESH_TARGET"]
    for name in SERVED:
        host, _, port = mesh.partition(":")
        yield name, host, int(port)
    for target in environment(container_of(GATEWAY, GATEWAY))["AZORA_SERVICES"].split(","):
        host, _, port = target.partition("=")[2].partition(":")
        yield GATEWAY, host, int(port)
    for name in SERVICES:
        yield name, "valkey", 6379
        yield name, f"{name}-db", 5432
        yield f"migrate-{name}", f"{name}-db", 5432


def found(tree: Any, key: str) -> Iterator[Any]:
    if isinstance(tree, dict):
        yield from (value for name, value in tree.items() if name == key)
        tree = list(tree.values())
    if isinstance(tree, list):
        for value in tree:
            yield from found(value, key)


def test_the_network_lets_through_what_is_called_and_nothing_else_of_it() -> None:
    needed = set(connections())
    names = {*pods(), *of_kind("Cluster")}
    assert {caller for caller, _, _ in needed} | {called for _, called, _ in needed} <= names
    ports = {port for _, _, port in needed}
    for caller in pods():
        for called in names - {caller}:
            for port in ports:
                passes = admits(called, "ingress", caller, port) and admits(caller, "egress", called, port)
                assert passes is ((caller, called, port) in needed), (caller, called, port)


def test_services_reach_outside_the_cluster_what_their_contracts_need() -> None:
    outside = {
        name: {
            port
            for rule in of_kind("NetworkPolicy")[name]["spec"]["egress"]
            if any("ipBlock" in peer for peer in rule.get("to", ()))
            for port in ports_of(rule)
        }
        for name in SERVED
    }
    assert outside == {"auth": {465, 587}, "education": set(), "gateway": set(), "payment": {443}}


def test_ports_of_services_lead_to_containers() -> None:
    for name, service in of_kind("Service").items():
        selected = [pod for pod in pods().values() if service["spec"]["selector"].items() <= labels(pod).items()]
        assert len(selected) == 1, name
        offered = {port["containerPort"] for port in selected[0]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= offered


def all_labels(name: str) -> dict[str, str]:
    return labels(pods()[name]) if name in pods() else {"cnpg.io/cluster": name}


def admits(name: str, direction: str, other: str, port: int) -> bool:
    """Whether the policies of a pod let a connection through."""
    policies = [
        each["spec"]
        for each in of_kind("NetworkPolicy").values()
        if each["spec"]["podSelector"]["matchLabels"].items() <= all_labels(name).items()
    ]
    assert policies, f"{name} is open to everyone"
    concerned = [policy for policy in policies if direction.capitalize() in policy["policyTypes"]]
    side = {"ingress": "from", "egress": "to"}[direction]
    return not concerned or any(
        (side not in rule or any(selects(peer, other) for peer in rule[side])) and port in ports_of(rule)
        for policy in concerned
        for rule in policy[direction]
    )


def ports_of(rule: dict[str, Any]) -> set[int]:
    return {port["port"] for port in rule["ports"]}


def selects(peer: dict[str, Any], name: str) -> bool:
    selector = peer.get("podSelector")
    if selector is None:
        return False
    own = all_labels(name)
    matched = selector.get("matchLabels", {}).items() <= own.items()
    return matched and all(own.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", ()))
