"""The processes of the one-command system: command, environment and place of each."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from services.compiler.contract import GATEWAY, load_contract
from services.deployment.files import write_private
from services.deployment.secret_keys import secret_key
from services.local.account import caller
from services.local.envoy import envoy_process
from services.local.layout import private_folder
from services.local.probes import accepts
from services.local.processes import Command
from services.local.settings import inherited_environment
from services.local.supervised import ProcessSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.local.layout import Layout
    from services.local.postgres import Cluster
    from services.local.settings import SystemSettings

METRICS = "metrics"
"""The socket of the page of all metrics."""


@dataclass(frozen=True, slots=True)
class System:
    """One local system, described; nothing in it runs."""

    settings: SystemSettings
    layout: Layout
    cluster: Cluster
    replicas: Mapping[str, int] = field(default_factory=dict)
    """Number of processes of each service; one where it is not named."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the services, each of which has a database."""
        return load_contract().owners

    def postgres(self) -> ProcessSpec:
        """Return how PostgreSQL is run."""
        return self.cluster.process(self.layout.log("postgres"))

    def services(self) -> list[ProcessSpec]:
        """Return how all replicas of the services are run."""
        return [spec for name in self.names for spec in self._replicas(name)]

    def gateway(self) -> list[ProcessSpec]:
        """Return how all replicas of the gateway are run."""
        return self._replicas(GATEWAY)

    def envoy(self) -> ProcessSpec:
        """Return how Envoy is run, on a bootstrap written now."""
        # Not before it is needed: the compiler imports for as long as everything else here, while services start.
        from services.compiler.envoy import LocalSettings, discovery_files, local, write_bootstrap  # noqa: PLC0415
        from services.compiler.envoy.profiles import collector  # noqa: PLC0415

        profile = local(
            LocalSettings(
                runtime=self.layout.runtime,
                pki=self.layout.pki,
                port=self.settings.port,
                replicas=self.replicas,
                rate_limit_scale=self.settings.rate_limit_scale,
                rate_limits=self.settings.rate_limits,
                otlp=collector(self.settings.otlp_endpoint),
                trace_sample_ratio=self.settings.trace_sample_ratio,
            )
        )
        private_folder(Path(profile.discovery), caller())
        for name, text in discovery_files(profile).items():
            write_private(Path(profile.discovery) / name, text.encode())
        write_bootstrap(profile, self.layout.bootstrap)
        return envoy_process(self.layout)

    @property
    def is_migrated(self) -> bool:
        """Whether an earlier start left every database at its newest revision."""
        marker = self.cluster.migrated
        return self.cluster.data.exists() and marker.exists() and marker.read_text() == self._newest_revisions()

    def mark_migrated(self) -> None:
        """Remember that every database is at its newest revision."""
        self.cluster.migrated.write_text(self._newest_revisions())

    async def unmigrated(self) -> list[str]:
        """Return the services whose databases are not at their newest revision; asking costs less than migrating."""
        return [service for service in self.names if await self.cluster.revision(service) != newest_revision(service)]

    def migration(self, service: str) -> Command:
        """Return how a service's database is migrated: by its owner, whom the running service cannot become."""
        owner = {"AZORA_MIGRATION_DATABASE_URL": self.cluster.url(service, f"{service}_owner")}
        return self._python(
            service, ("migrate",), self.environment(service) | owner, self.layout.log(f"{service}-migrate")
        )

    def seeding(self) -> Command:
        """Return how the running system is seeded: by `azora seed`, as a process of its own whose memory is freed."""
        here = {"AZORA_HOME": str(self.layout.home), "AZORA_PORT": str(self.settings.port)}
        return Command(
            arguments=(sys.executable, "-m", "services.cli", "seed"),
            environment=dict(inherited_environment()) | here,
            log=self.layout.log("seed"),
            folder=self.layout.home,
        )

    def _newest_revisions(self) -> str:
        return json.dumps({service: newest_revision(service) for service in self.names})

    def remove_sockets(self) -> None:
        """Remove the folders outside the home; the next start makes them anew."""
        for folder in (self.layout.runtime, self.cluster.sockets):
            shutil.rmtree(folder, ignore_errors=True)

    def _replicas(self, service: str) -> list[ProcessSpec]:
        return [self._service(service, replica) for replica in range(self.replicas.get(service, 1))]

    def _service(self, service: str, replica: int) -> ProcessSpec:
        path = self.layout.socket(service, replica)
        environment = self.environment(service) | {"AZORA_LISTEN": f"unix:{path}"}
        if service == GATEWAY:
            http = self.layout.socket(f"{GATEWAY}-http", replica)
            environment |= {"AZORA_HTTP_LISTEN": f"unix:{http}", "AZORA_SERVICES": self._targets()}
            metrics = f"unix:{self.layout.socket(METRICS, replica)}"
            listen = environment.get("AZORA_METRICS_LISTEN")
            environment["AZORA_METRICS_LISTEN"] = metrics if replica or not listen else listen
            environment["AZORA_MESH_TARGET"] = self.layout.target("mesh")
        return ProcessSpec(
            name=path.stem,
            command=self._python(service, (), environment, self.layout.log(path.stem)),
            ready=lambda: accepts(path),
            prepare=lambda: path.unlink(missing_ok=True),
        )

    def environment(self, service: str) -> dict[str, str]:
        """Return the environment of every process of a service: the caller's, and what this system sets."""
        own = {
            "AZORA_ENV": "development",
            "AZORA_LISTEN": self.layout.target(service),
            "AZORA_TLS_CERTIFICATE": str(self.layout.pki / f"{service}.crt"),
            "AZORA_TLS_KEY": str(self.layout.pki / f"{service}.key"),
            "AZORA_TLS_AUTHORITY": str(self.layout.pki / "ca.crt"),
        }
        if service in self.names:
            own |= {
                "AZORA_DATABASE_URL": self.cluster.url(service, f"{service}_app"),
                "AZORA_SECRET_KEY": secret_key(self.layout.secrets, service),
                "AZORA_MESH_TARGET": self.layout.target("mesh"),
            }
        # One replica that stops need not wait until the mesh looks elsewhere: there is nowhere else.
        lone = self.replicas.get(service, 1) == 1
        defaults = {"AZORA_DRAIN_SECONDS": "0"} if lone else {}
        return defaults | dict(inherited_environment()) | own

    def _targets(self) -> str:
        """Return where the gateway asks each service for its health."""
        return ",".join(
            f"{name}=unix:{self.layout.socket(name, replica)}"
            for name in self.names
            for replica in range(self.replicas.get(name, 1))
        )

    def _python(self, service: str, arguments: tuple[str, ...], environment: Mapping[str, str], log: Path) -> Command:
        return Command(
            arguments=(sys.executable, "-m", f"services.{service}", *arguments),
            environment=environment,
            log=log,
            folder=self.layout.home,
        )


def newest_revision(service: str) -> str:
    """Return the newest revision of a service's migrations, whose files are named <revision>_<what>.py."""
    versions = files(f"services.{service}") / "migrations" / "versions"
    names = (entry.name for entry in versions.iterdir() if entry.name.endswith(".py"))
    return max(name.partition("_")[0] for name in names)
