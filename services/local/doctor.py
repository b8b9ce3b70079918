"""Checks whether this machine can run the system, before anything starts."""

from __future__ import annotations

import datetime as dt
import errno
import os
import shutil
import socket
import ssl
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.local.account import database_account, user_name
from services.local.envoy import installed_envoy
from services.local.errors import (
    CertificateUnusable,
    DiskFull,
    HomeOfAnother,
    HomeRefused,
    LocalError,
    PortRefused,
    PortTaken,
    ProductionRefused,
    PythonTooOld,
)
from services.local.layout import find_socket_base, fingerprint, lock_path, register_path
from services.local.orphans import check_not_running, living_orphans
from services.local.postgres import data_folder, installed_binaries
from services.local.public_port import dns_names, expiry
from services.local.settings import runtime_candidates
from services.shared.settings import Environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.local.settings import SystemSettings

OLDEST_PYTHON = (3, 11)
NEEDED_MIB = 512
CONNECT_SECONDS = 1.0
PORTS_TRIED = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    subject: str
    well: bool
    text: str


def examine(settings: SystemSettings) -> Iterator[Finding]:
    """Check everything and change nothing."""
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("Python", lambda: check_python(sys.version_info[:2])),
        ("environment", lambda: check_environment(settings)),
        ("binaries", check_binaries),
        ("certificate", lambda: check_certificate(settings)),
        ("home", lambda: check_home(settings.home)),
        ("disk", lambda: check_disk(settings.home)),
        ("sockets", lambda: check_sockets(settings.home)),
        ("port", lambda: check_port_of_home(settings)),
    )
    for subject, check in checks:
        try:
            yield Finding(subject, well=True, text=check())
        except LocalError as error:
            yield Finding(subject, well=False, text=str(error))


def check_machine(settings: SystemSettings) -> None:
    """Check all that does not depend on another run. Raises the LocalError that says what to do."""
    check_python(sys.version_info[:2])
    check_environment(settings)
    check_binaries()
    check_certificate(settings)
    check_home(settings.home)
    check_disk(settings.home)
    check_sockets(settings.home)


def check_python(found: tuple[int, ...]) -> str:
    """Check the version of Python. Raises PythonTooOld."""
    version = ".".join(map(str, found))
    if found < OLDEST_PYTHON:
        raise PythonTooOld(found=version)
    return f"Python {version}: ok"


def check_environment(settings: SystemSettings) -> str:
    """Check that a development system is what is wanted. Raises ProductionRefused."""
    if settings.env is Environment.PRODUCTION:
        raise ProductionRefused
    return "development"


def check_binaries() -> str:
    """Check that PostgreSQL and Envoy are installed. Raises BinaryMissing."""
    installed_binaries()
    installed_envoy()
    return "PostgreSQL and Envoy: installed"


def check_certificate(settings: SystemSettings) -> str:
    """Check the certificate of a public port with TLS. Raises CertificateUnusable."""
    certificate, key = settings.public_certificate, settings.public_key
    if certificate is None or key is None:
        return "public port without TLS"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        end = expiry(certificate)
        if end <= dt.datetime.now(dt.UTC):
            raise ValueError(f"it expired on {end:%Y-%m-%d}")  # noqa: TRY301 - like what the libraries raise
        names = dns_names(certificate)
    except (OSError, ValueError) as error:
        raise CertificateUnusable(certificate=certificate, reason=error) from None
    return f"TLS for {', '.join(names)} until {end:%Y-%m-%d}"


def check_home(home: Path) -> str:
    """Check that the home, or where it will be made, is ours. Raises HomeOfAnother, HomeRefused."""
    if home.exists() and home.stat().st_uid != os.geteuid():
        raise HomeOfAnother(home=home, owner=user_name(home.stat().st_uid))
    existing = _nearest_existing(home)
    if not existing.is_dir():
        raise HomeRefused(home=home, reason=f"{existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise HomeRefused(home=home, reason=f"no permission to write in {existing}")
    return f"{home}: writable"


def check_disk(home: Path) -> str:
    """Check that there is space for the database. Raises DiskFull."""
    folder = data_folder(home, database_account(fingerprint(home)))
    free_mib = shutil.disk_usage(_nearest_existing(folder)).free // 2**20
    if free_mib < NEEDED_MIB:
        raise DiskFull(folder=folder, free_mib=free_mib, needed_mib=NEEDED_MIB)
    return f"{free_mib} MiB free"


def check_sockets(home: Path) -> str:
    """Check that there is a folder short enough for sockets. Raises NoShortFolder."""
    base = find_socket_base(database_account(fingerprint(home)), runtime_candidates())
    return f"{base}: usable"


def check_port_of_home(settings: SystemSettings) -> str:
    """Check the port, unless an orphaned process may hold it. Raises AlreadyRunning, PortTaken, PortRefused."""
    check_not_running(lock_path(settings.home))
    orphans = living_orphans(register_path(settings.home))
    if orphans:
        return f"orphaned processes of an earlier run: {', '.join(orphans)}; the next start stops them"
    return check_port(settings.port)


def check_port(port: int) -> str:
    """Check that nothing listens on the port and that we may. Raises PortTaken, PortRefused."""
    # Asked by connecting first: a listener that shares its port would let us bind, too, and take half of the calls.
    with socket.socket() as client:
        client.settimeout(CONNECT_SECONDS)
        if client.connect_ex(("127.0.0.1", port)) == 0:
            raise PortTaken(port=port, other=_free_port_after(port))
    refusal = _refusal(port)
    if refusal == errno.EADDRINUSE:
        raise PortTaken(port=port, other=_free_port_after(port))
    if refusal:
        raise PortRefused(port=port, reason=os.strerror(refusal), other=_free_port_after(max(port, 8079)))
    return f"{port}: free"


def is_free(port: int) -> bool:
    """Whether the port of the loopback interface can be listened on."""
    return not _refusal(port)


def _refusal(port: int) -> int:
    """Return why the port cannot be bound, as an errno; 0 if it can."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno or errno.EINVAL
        return 0


def _free_port_after(port: int) -> int:
    candidates = range(port + 1, min(port + PORTS_TRIED, 65536))
    return next((candidate for candidate in candidates if is_free(candidate)), 8080)


def _nearest_existing(path: Path) -> Path:
    return next(step for step in (path, *path.parents) if step.exists())
