"""docker-compose.yml as Compose reads it, and its containers as plain processes of this machine."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from services.local.envoy import installed_envoy
from services.local.orphans import Register
from services.local.processes import Command, spawn
from services.local.supervised import ProcessSpec, SupervisedProcess
from tests.support.ports import accepts, free_port
from tests.support.redis import redis_server
from tests.support.services import SERVED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.shared.settings import ServerSettings

ROOT = Path(__file__).parents[2]
IMAGE = "azora:local"
SECRETS = "/run/secrets"
DISCOVERY = "/etc/envoy/discovery"
START_SECONDS = 60  # All start at once, on whatever machine tests run.
VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")


@cache
def compose() -> Mapping[str, Any]:
    """Return docker-compose.yml with its defaults filled in and its merges done."""
    text = VARIABLE.sub(r"\1", (ROOT / "docker-compose.yml").read_text()).replace("$$", "$")
    content: Mapping[str, Any] = yaml.safe_load(text)
    return content


def containers() -> Mapping[str, Mapping[str, Any]]:
    """Return the services of the file by name."""
    found: Mapping[str, Mapping[str, Any]] = compose()["services"]
    return found


def ours() -> list[str]:
    """Return the names of those that run our image."""
    return [name for name, container in containers().items() if container["image"] == IMAGE]


def mounted(container: str, kind: str) -> dict[str, str]:
    """Return a container's secrets or configs: the name that it sees, and the name that the file gives it."""
    entries = containers()[container].get(kind, [])
    pairs = [(entry, entry) if isinstance(entry, str) else (entry["target"], entry["source"]) for entry in entries]
    return dict(pairs)


def volumes(container: str) -> dict[str, str]:
    """Return where a container has its volumes, by their names and the folders within: pki/identities/auth."""
    entries = containers()[container].get("volumes", [])
    return dict(map(_mount, entries))


def _mount(entry: str | Mapping[str, Any]) -> tuple[str, str]:
    if isinstance(entry, str):
        source, target = entry.split(":")[:2]
        return source, target
    return f"{entry['source']}/{entry['volume']['subpath']}", entry["target"]


def settings_of(container: str) -> type[ServerSettings]:
    """Return the settings class of the service that a container of ours runs."""
    return settings_class(containers()[container]["command"][1])


def settings_class(service: str) -> type[ServerSettings]:
    """Return the settings class of a service."""
    module = importlib.import_module(f"services.{service}.settings")
    kind: type[ServerSettings] = getattr(module, f"{service.capitalize()}Settings")
    return kind


def give_secrets(container: str, made: Path, folder: Path) -> Path:
    """Put a container's secrets into `folder` under the names that it sees; return the folder."""
    folder.mkdir()
    for target, source in mounted(container, "secrets").items():
        shutil.copy(made / Path(compose()["secrets"][source]["file"]).name, folder / target)
    return folder


@dataclass(frozen=True)
class Processes:
    """Containers as processes: the same command, environment, secrets and health check, on ports of 127.0.0.1."""

    folder: Path
    made: Path
    """The folder of secrets."""
    ports: dict[str, int] = field(default_factory=dict)
    """The port here of each "host:port" there."""

    def secrets(self, container: str) -> Path:
        """Return the folder that stands for a container's /run/secrets."""
        folder = self.folder / f"{container}.secrets"
        return folder if folder.exists() else give_secrets(container, self.made, folder)

    def port(self, host: str, port: int) -> int:
        """Return the port here that stands for a container's."""
        return self.ports.setdefault(f"{host}:{port}", free_port())

    def here(self, container: str, text: str) -> str:
        """Return a value of the file with its addresses and its folder of secrets as they are here."""
        text = text.replace(SECRETS, str(self.secrets(container)))
        for place, folder in self.mounts(container).items():
            text = text.replace(place, str(folder))
        text = re.sub(r"\b0\.0\.0\.0:(\d+)", lambda at: f"127.0.0.1:{self.port(container, int(at[1]))}", text)
        names = "|".join(containers())
        return re.sub(rf"\b({names}):(\d+)", lambda at: f"localhost:{self.port(at[1], int(at[2]))}", text)

    def mounts(self, container: str) -> dict[str, Path]:
        """Return the folders that stand for a container's volumes, by the places where it sees them."""
        found = {place: self.folder / "volumes" / name for name, place in volumes(container).items()}
        for folder in found.values():
            folder.mkdir(parents=True, exist_ok=True)
        return found

    def identity(self, name: str) -> Path:
        """Return the folder of a member's certificate, key and authority."""
        return self.mounts(name)["/run/pki"]

    def environment(self, container: str, **changes: str) -> dict[str, str]:
        """Return a container's environment; `changes` stand for what is not the same here."""
        own = containers()[container].get("environment", {})
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AZORA_")}
        return inherited | {name: self.here(container, value) for name, value in own.items()} | changes

    def service(self, container: str, *options: str, **changes: str) -> SupervisedProcess:
        """Return a container of our image as a process that is ready when its own health check says so.

        `options` follow those of its command.
        """
        command = [*(self.here(container, word) for word in containers()[container]["command"]), *options]
        program = [sys.executable, "-m", "services.cli", *command]
        return self._process(container, program, self.check(container), self.environment(container, **changes))

    def valkey(self) -> SupervisedProcess:
        """Return the counters' server, with the same configuration and flags; what asks for it will wait."""
        flags = [self.here("valkey", flag) for flag in containers()["valkey"]["command"][1:]]
        listen = ["--bind", "127.0.0.1", "--port", str(self.port("valkey", 6379))]
        return self._process("valkey", [str(redis_server()), *flags, *listen], [], self.environment("valkey"))

    def envoy(self) -> SupervisedProcess:
        """Return the real Envoy on the committed bootstrap, with the addresses and paths as they are here."""
        mounts = mounted("envoy", "configs")
        files = {target: str(ROOT / compose()["configs"][source]["file"]) for target, source in mounts.items()}
        arguments = containers()["envoy"]["command"]
        at = arguments.index("--config-path") + 1
        discovery = self.folder / "discovery"
        discovery.mkdir(exist_ok=True)
        mounted_folders = {place: str(folder) for place, folder in self.mounts("envoy").items()}
        paths = files | mounted_folders | {"/tmp": str(self.folder), DISCOVERY: str(discovery)}
        for target in [target for target in files if target.startswith(DISCOVERY)]:
            self._move(paths.pop(target), discovery / Path(target).name, paths)
        path = self.folder / "envoy.json"
        self._move(files[arguments[at]], path, paths)
        program = [str(installed_envoy()), *arguments[1:at], str(path), *arguments[at + 1 :]]
        published = str(self.port("envoy", 8080))
        check = [word.replace("8080", published) for word in self.check("envoy")]
        return self._process("envoy", program, check, self.environment("envoy"))

    def check(self, container: str) -> list[str]:
        """Return a container's health check, as it is run here; empty where it has none."""
        words: list[str] = containers()[container]["healthcheck"].get("test", [])[1:]
        programs = {"python": sys.executable, "azora": str(Path(sys.executable).with_name("azora"))}
        return [programs.get(word, self.here(container, word)) for word in words]

    def _process(
        self, container: str, program: Sequence[str], check: Sequence[str], environment: Mapping[str, str]
    ) -> SupervisedProcess:
        async def ready() -> bool:
            if container in SERVED and not await accepts(self.port(container, 50051)):
                return False  # Starting Python to be told so would take longer than the service does.
            log = self.folder / f"{container}.health.log"
            return not check or await (await spawn(Command(check, environment, log, folder=ROOT))).wait() == 0

        command = Command(program, environment, self.folder / f"{container}.log", folder=ROOT)
        spec = ProcessSpec(name=container, command=command, ready=ready, start_seconds=START_SECONDS)
        return SupervisedProcess(spec, Register(self.folder / f"{container}.processes.json"), lambda _: None)

    def _move(self, file: str, to: Path, paths: Mapping[str, str]) -> None:
        to.write_text(json.dumps(self._moved(json.loads(Path(file).read_text()), paths)))

    def _moved(self, tree: Any, paths: Mapping[str, str]) -> Any:
        """Return a subtree of Envoy's bootstrap with every address and path as it is here."""
        if isinstance(tree, list):
            return [self._moved(value, paths) for value in tree]
        if isinstance(tree, str):
            prefix = next((prefix for prefix in paths if tree == prefix or tree.startswith(f"{prefix}/")), "")
            return paths.get(prefix, "") + tree.removeprefix(prefix)
        if isinstance(tree, dict) and {"address", "port_value"} <= set(tree):
            host, port = tree["address"], tree["port_value"]
            return {
                "address": "127.0.0.1" if host == "0.0.0.0" else "localhost",
                "port_value": self.port("envoy" if host == "0.0.0.0" else host, port),
            }
        return {name: self._moved(value, paths) for name, value in tree.items()} if isinstance(tree, dict) else tree
