"""The whole system for tests, started and stopped as a person does it: `azora up` in a terminal of its own, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from azora.client import MeshIdentity

from services.local.processes import Identity
from services.local.reset import reset
from services.local.settings import SystemSettings
from tests.support.collector import running_collector
from tests.support.ports import free_port
from tests.support.postgres import passable_folder
from tests.support.waiting import eventually, eventually_sync

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.support.collector import Collector

AZORA = Path(sys.executable).with_name("azora")
START_SECONDS = 90.0
STOP_SECONDS = 30.0
TABLE_ENDS = "make reset\n"
"""The last that a start prints."""
QUICK = {"AZORA_BCRYPT_COST": "4", "AZORA_RATE_LIMIT_SCALE": "1000", "AZORA_ERASURE_DELAY_SECONDS": "15"}
"""What keeps tests from waiting for what they do not test."""
UNTRACED = {"AZORA_TRACE_SAMPLE_RATIO": "0"}
"""As without a collector: `azora up` keeps every trace for its console, on the cores that a load is measured on."""
RUNNING = pytest.StashKey[ExitStack]()
"""What stops the session's system."""


@dataclass(slots=True)
class LocalSystem:
    """One run after another of `azora up` on one home and port."""

    home: Path
    port: int
    environment: Mapping[str, str] = field(default_factory=dict)
    run_by: Sequence[str] = ()
    """What runs `azora up`, in its place."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def edge(self) -> str:
        """The URL of everything."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def target(self) -> str:
        """The gRPC address of everything."""
        return f"127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """What the last run has printed."""
        return self._output.read_text()

    @property
    def _output(self) -> Path:
        return self.home.with_suffix(".out")

    def azora(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run an `azora` command to its end."""
        return subprocess.run(  # noqa: S603 - our own command
            [AZORA, *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=START_SECONDS,
        )

    def start(self, *arguments: str) -> None:
        """Start it in a session of its own, as a terminal does, and wait for the table."""
        self.begin(*arguments)
        assert eventually_sync(lambda: TABLE_ENDS in self.output or self._ended(), within_seconds=START_SECONDS)
        assert TABLE_ENDS in self.output, self.output

    def begin(self, *arguments: str) -> None:
        """Start it and wait for nothing."""
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [*self.run_by, AZORA, "up", *arguments],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def processes(self) -> dict[str, Identity]:
        """Return the running processes by name."""
        entries = json.loads((self.home / "processes.json").read_text())
        return {name: Identity(entry["pid"], entry["started"]) for name, entry in entries.items()}

    def address(self, process: str, name: str = "") -> str:
        """Return where a running process listens, for gRPC clients."""
        entry = json.loads((self.home / "processes.json").read_text())[process]
        listen: str = entry["addresses"][name or process.partition("-")[0]]
        return listen.replace("127.0.0.1:", "localhost:")

    @property
    def mesh(self) -> str:
        """The gRPC address of Envoy's internal listener."""
        return self.address("envoy", "mesh")

    def identity(self, service: str, pki: Path | None = None) -> MeshIdentity:
        """Return a service's identity on the mesh; with `pki`, one from that folder that trusts this system."""
        own = self.home / "pki"
        folder = pki or own
        return MeshIdentity(folder / f"{service}.crt", folder / f"{service}.key", own / "ca.crt")

    async def end_process(self, process: str, number: signal.Signals) -> None:
        """Send a process a signal that ends it, and wait until it is back and ready."""
        said = f"azora {process} restarted\n"
        before = self.output.count(said)
        self.processes()[process].send(number)

        async def is_back() -> bool:
            return self.output.count(said) > before

        await eventually(is_back, within_seconds=START_SECONDS)

    def health(self) -> tuple[int, dict[str, str]]:
        """Return the status of GET /health and the health of each service; (0, {}) where nobody answers."""
        try:
            answer = httpx.get(f"{self.edge}/health", timeout=5, trust_env=False)
            return answer.status_code, answer.json().get("services", {})
        except (httpx.HTTPError, ValueError):
            return 0, {}

    def interrupt(self) -> None:
        """Press Ctrl-C: a signal to everything in the terminal's foreground."""
        assert self.process
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self) -> int:
        """Wait until it has ended and return its exit code."""
        assert self.process
        code = self.process.wait(STOP_SECONDS)
        self.process = None
        return code

    def stop(self) -> None:
        """Press Ctrl-C and check that it ends well and leaves nothing running."""
        assert self.process
        session, processes = self.process.pid, self.processes()
        self.interrupt()
        assert self.wait() == 0, self.output
        assert [name for name, identity in processes.items() if identity.alive] == []
        assert not _in_session(session)
        assert self.health() == (0, {})

    def end(self) -> None:
        """Stop it if it runs, however it does."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.wait()

    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def _environment(self) -> dict[str, str]:
        own = {"AZORA_HOME": str(self.home), "AZORA_PORT": str(self.port)}
        return dict(os.environ) | QUICK | dict(self.environment) | own


def _in_session(session: int) -> list[int]:
    """Return the processes of a terminal's session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(entry.name)) == session:
                found.append(int(entry.name))
        except ProcessLookupError:
            continue
    return found


@contextmanager
def local_system(**environment: str) -> Iterator[LocalSystem]:
    """Give a system with a home and port of its own, not started yet; stop it and wipe everything of it afterwards."""
    with passable_folder() as room:
        system = LocalSystem(room / "home", free_port(), environment)
        try:
            yield system
        finally:
            system.end()
            reset(SystemSettings(home=system.home, port=system.port))


@pytest.fixture
def fresh_system() -> Iterator[LocalSystem]:
    """Give a system of the test's own, not started yet."""
    with local_system() as system:
        yield system


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Run the collector of the session's traces."""
    with running_collector() as running:
        yield running


def stop_system(config: pytest.Config) -> None:
    """Stop the session's system if it runs, as the end of the session does."""
    if running := config.stash.get(RUNNING, None):
        running.close()


@pytest.fixture(scope="session")
def system(collector: Collector, pytestconfig: pytest.Config) -> Iterator[LocalSystem]:
    """Run the whole system for the session, seeded; check at the end that Ctrl-C leaves nothing of it."""
    observed = {
        "AZORA_METRICS_LISTEN": f"127.0.0.1:{free_port()}",
        "AZORA_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "500",  # Milliseconds between exports.
    }
    with ExitStack() as stack:
        running = stack.enter_context(local_system(**observed))
        running.start()
        stack.callback(running.stop)
        pytestconfig.stash[RUNNING] = stack
        yield running
