"""The processes of the one-command system: command, environment and place of each."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from services.compiler.contract import ENVOY, GATEWAY, load_contract
from services.deployment.certificates import AUTHORITY, CERTIFICATE, KEY, identity_folder
from services.deployment.files import write_private
from services.deployment.secret_keys import secret_key
from services.local.account import caller
from services.local.envoy import envoy_process
from services.local.layout import private_folder, replica_name
from services.local.probes import accepts
from services.local.processes import Command
from services.local.settings import inherited_environment
from services.local.supervised import ProcessSpec
from services.shared.revisions import newest_revision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.compiler.envoy import Address, Certificate, Profile
    from services.local.addresses import Addresses
    from services.local.layout import Layout
    from services.local.postgres import Cluster
    from services.local.settings import SystemSettings

GATEWAY_HTTP = f"{GATEWAY}-http"
"""The gateway's HTTP app, as Envoy's upstream."""
MESH = "mesh"
"""Envoy's internal listener."""
METRICS = "metrics"
"""The socket of the page of all metrics."""
TRACES = "traces"
"""The socket on which the gateway receives traces."""

EXPORT_MILLISECONDS = "1000"
"""Interval at which processes export their spans: people who look at a trace wait for it."""


@dataclass(frozen=True, slots=True)
class System:
    """One local system, described; nothing in it runs."""

    settings: SystemSettings
    addresses: Addresses
    cluster: Cluster
    replicas: Mapping[str, int] = field(default_factory=dict)
    """Number of processes of each service; one where it is not named."""

    @property
    def layout(self) -> Layout:
        """The folders and files of the system."""
        return self.addresses.layout

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the services, each of which has a database."""
        return load_contract().owners

    @property
    def otlp_endpoint(self) -> str:
        """Where all processes send their traces: to the gateway, unless the settings say otherwise, or record none."""
        own = f"unix:{self.layout.socket(TRACES)}" if self.settings.trace_sample_ratio else ""
        return self.settings.otlp_endpoint or own

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
        from services.compiler.envoy import write_bootstrap  # noqa: PLC0415

        profile = self.profile()
        private_folder(Path(profile.discovery), caller())
        _write_discovery(profile)
        write_bootstrap(profile, self.layout.bootstrap)
        return envoy_process(self.layout, self.addresses.listen(MESH))

    def publish(self, live: Callable[[str], Sequence[str]]) -> None:
        """Tell Envoy, which may run, the addresses of each upstream's live replicas. Raises OSError."""
        profile = self.profile()
        upstreams = {name: tuple(map(_address, live(name))) for name in profile.upstreams}
        _write_discovery(replace(profile, upstreams=upstreams))

    def profile(self) -> Profile:
        """Return what Envoy's bootstrap is compiled for."""
        from services.compiler.envoy import Certificate, LocalSettings, local  # noqa: PLC0415 - see `envoy`
        from services.compiler.envoy.profiles import collector  # noqa: PLC0415

        profile = local(
            LocalSettings(
                runtime=self.layout.runtime,
                pki=self.layout.pki,
                port=self.settings.port,
                public_certificate=self._public_certificate(),
                replicas=self.replicas,
                rate_limit_scale=self.settings.rate_limit_scale,
                rate_limits=self.settings.rate_limits,
                public_url=self.settings.base_url,
                jwks_cache_seconds=self.settings.jwks_cache_seconds,
                otlp=collector(self.otlp_endpoint),
                trace_sample_ratio=self.settings.trace_sample_ratio,
            )
        )
        own = identity_folder(self.layout.pki, ENVOY)
        return replace(
            profile,
            mesh=_address(self.addresses.listen(MESH)),
            upstreams=self._upstreams(),
            certificate=Certificate(str(own / CERTIFICATE), str(own / KEY)),
            authority=str(own / AUTHORITY),
        )

    def _public_certificate(self) -> Certificate | None:
        from services.compiler.envoy import Certificate  # noqa: PLC0415 - see `envoy`

        chain, key = self.settings.public_certificate, self.settings.public_key
        return Certificate(str(chain), str(key)) if chain and key else None

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
        listen = self.addresses.listen(service, replica)
        environment = self.environment(service) | {"AZORA_LISTEN": listen}
        addresses = {service: listen}
        if service == GATEWAY:
            addresses[GATEWAY_HTTP] = self.addresses.listen(GATEWAY_HTTP, replica)
            environment |= {"AZORA_HTTP_LISTEN": addresses[GATEWAY_HTTP], "AZORA_SERVICES": self._targets()}
            asked = "" if replica else environment.get("AZORA_METRICS_LISTEN", "")
            pages = (asked, f"unix:{self.layout.socket(METRICS, replica)}")
            environment["AZORA_METRICS_LISTEN"] = ",".join(filter(None, pages))
            if not (replica or self.settings.otlp_endpoint):
                environment["AZORA_TRACES_LISTEN"] = self.otlp_endpoint
        name, socket = replica_name(service, replica), self.layout.socket(service, replica)
        return ProcessSpec(
            name=name,
            command=self._python(service, (), environment, self.layout.log(name)),
            ready=lambda: accepts(listen),
            prepare=lambda: socket.unlink(missing_ok=True),
            addresses=addresses,
        )

    def environment(self, service: str) -> dict[str, str]:
        """Return the environment of every process of a service: the caller's, and what this system sets."""
        identity = identity_folder(self.layout.pki, service)
        own = {
            "AZORA_ENV": "development",
            "AZORA_LISTEN": self.addresses.listen(service),
            "AZORA_TLS_CERTIFICATE": str(identity / CERTIFICATE),
            "AZORA_TLS_KEY": str(identity / KEY),
            "AZORA_TLS_AUTHORITY": str(identity / AUTHORITY),
            "AZORA_MESH_TARGET": self.addresses.target(MESH),
            "AZORA_PUBLIC_URL": self.settings.base_url,
            "AZORA_OTLP_ENDPOINT": self.otlp_endpoint,
        }
        if service in self.names:
            own |= {
                "AZORA_DATABASE_URL": self.cluster.url(service, f"{service}_app"),
                "AZORA_SECRET_KEY": secret_key(self.layout.secrets, service),
            }
        # One replica that stops need not wait until the mesh looks elsewhere: there is nowhere else.
        lone = self.replicas.get(service, 1) == 1
        defaults = {"OTEL_BSP_SCHEDULE_DELAY": EXPORT_MILLISECONDS} | ({"AZORA_DRAIN_SECONDS": "0"} if lone else {})
        return defaults | dict(inherited_environment()) | own

    def _upstreams(self) -> dict[str, tuple[Address, ...]]:
        found: dict[str, tuple[Address, ...]] = {}
        for spec in self.services() + self.gateway():
            for name, listen in spec.addresses.items():
                found[name] = (*found.get(name, ()), _address(listen))
        return found

    def _targets(self) -> str:
        """Return where the gateway asks each service for its health."""
        return ",".join(
            f"{name}={self.addresses.target(name, replica)}"
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


def listeners(names: Sequence[str], replicas: Mapping[str, int]) -> list[str]:
    """Return the replica names of all that Envoy and services call, and that has a port over TCP."""
    counts = {name: replicas.get(name, 1) for name in (*names, GATEWAY)} | {GATEWAY_HTTP: replicas.get(GATEWAY, 1)}
    return [replica_name(name, number) for name, count in counts.items() for number in range(count)] + [MESH]


def _write_discovery(profile: Profile) -> None:
    """Write the files that Envoy reads again when they change: those that do change."""
    from services.compiler.envoy import discovery_files  # noqa: PLC0415 - see `System.envoy`

    for name, text in discovery_files(profile).items():
        path = Path(profile.discovery) / name
        if not path.exists() or path.read_text() != text:
            write_private(path, text.encode())


def _address(listen: str) -> Address:
    from services.compiler.envoy import Pipe, Tcp  # noqa: PLC0415 - see `System.envoy`

    if listen.startswith("unix:"):
        return Pipe(listen.removeprefix("unix:"))
    host, _, port = listen.rpartition(":")
    return Tcp(host, int(port))
