"""What stands in the way of a start, and what to do about it."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from services.deployment.pki import ensure_pki
from services.local import doctor
from services.local.account import Account, caller, database_account
from services.local.errors import (
    AlreadyRunning,
    BinaryMissing,
    CertificateUnusable,
    DiskFull,
    HomeOfAnother,
    HomeRefused,
    PortRefused,
    PortTaken,
    ProductionRefused,
    PythonTooOld,
    SettingInvalid,
    UserUnnamed,
)
from services.local.layout import lock_path, register_path
from services.local.orphans import Register, run_lock
from services.local.settings import SystemSettings, read_settings
from tests.support.certificates import issue
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def _listener(*, listening: bool = True) -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listening:
            server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def settings(tmp_path: Path) -> SystemSettings:
    return SystemSettings(home=tmp_path / "home", port=free_port())


def test_a_machine_on_which_all_is_well(settings: SystemSettings) -> None:
    findings = list(doctor.examine(settings))
    assert [finding.subject for finding in findings] == [
        "Python",
        "environment",
        "binaries",
        "certificate",
        "home",
        "disk",
        "sockets",
        "port",
    ]
    assert [finding.text for finding in findings if not finding.well] == []
    assert not settings.home.exists()


def test_a_taken_port_comes_with_another_that_is_free(settings: SystemSettings) -> None:
    with _listener() as port, pytest.raises(PortTaken, match=f"Port {port} is in use.*AZORA_PORT=") as failure:
        doctor.check_port(port)
    other = int(str(failure.value).rpartition("AZORA_PORT=")[2].split()[0])
    assert doctor.check_port(other)


def test_a_port_that_is_bound_and_does_not_answer_is_taken_too() -> None:
    with _listener(listening=False) as port, pytest.raises(PortTaken):
        doctor.check_port(port)


def test_a_port_that_shares_itself_is_taken_too() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(PortTaken):
            doctor.check_port(server.getsockname()[1])


def test_a_port_that_may_not_be_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    port = free_port()
    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(PortRefused, match=f"Port {port} cannot be listened on"):
        doctor.check_port(port)


def test_production_is_not_for_the_local_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZORA_ENV", "production")
    with pytest.raises(ProductionRefused, match="docker compose up"):
        doctor.check_machine(read_settings())


def test_an_old_python() -> None:
    with pytest.raises(PythonTooOld, match=r"Python 3\.9 is too old.*3\.11"):
        doctor.check_python((3, 9))


def test_no_room_on_the_disk(settings: SystemSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "NEEDED_MIB", 2**40)
    with pytest.raises(DiskFull, match=r"MiB free.*AZORA_HOME"):
        doctor.check_machine(settings)


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeRefused, match="is not a folder"):
        doctor.check_home(tmp_path / "file" / "home")


def test_a_home_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(HomeOfAnother, match="belongs to"):
        doctor.check_home(tmp_path)


def test_a_binary_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BinaryMissing, match="PostgreSQL 18"):
        doctor.check_binaries()


def test_another_run_on_this_home(settings: SystemSettings) -> None:
    settings.home.mkdir()
    with run_lock(lock_path(settings.home)), pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
        doctor.check_port_of_home(settings)


def test_what_a_killed_run_left_is_named(settings: SystemSettings) -> None:
    settings.home.mkdir()
    Register(register_path(settings.home)).add("envoy", os.getpid(), signal.SIGTERM)
    assert "orphaned processes of an earlier run: envoy" in doctor.check_port_of_home(settings)


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 3_999_999_999)
    with pytest.raises(UserUnnamed, match="/etc/passwd"):
        database_account("0")
    assert caller().name == "uid 3999999999"


def test_whom_a_folder_lets_pass(tmp_path: Path) -> None:
    stranger = Account("stranger", os.geteuid() + 1, os.getegid())
    (tmp_path / "file").write_text("")
    tmp_path.chmod(0o700)
    assert caller().may_enter(tmp_path)
    assert caller().may_read(tmp_path / "file")
    assert not stranger.may_enter(tmp_path)
    assert not stranger.may_read(tmp_path / "file")


@pytest.mark.parametrize(("name", "value"), [("AZORA_PORT", "http"), ("AZORA_PORT", "70000")])
def test_a_setting_that_makes_no_sense(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingInvalid, match=f"{name}.*Correct the variable"):
        read_settings()


def test_a_public_certificate_is_checked_with_its_key(settings: SystemSettings, tmp_path: Path) -> None:
    assert doctor.check_certificate(settings) == "public port without TLS"
    ensure_pki(tmp_path)
    good = issue(tmp_path, tmp_path, "good", dns=("azora.example.com",))
    old = issue(tmp_path, tmp_path, "old", life_seconds=-1)
    assert "TLS for azora.example.com until " in doctor.check_certificate(
        with_tls(settings, good.certificate, good.key)
    )
    for certificate, key, complaint in (
        (good.certificate, old.key, "KEY_VALUES_MISMATCH"),
        (old.certificate, old.key, "expired"),
        (tmp_path / "none.crt", good.key, "No such file"),
        (tmp_path / "ca.crt", tmp_path / "ca.key", "no DNS name"),
    ):
        with pytest.raises(CertificateUnusable) as refused:
            doctor.check_certificate(with_tls(settings, certificate, key))
        assert complaint in str(refused.value)


def with_tls(settings: SystemSettings, certificate: Path, key: Path) -> SystemSettings:
    return settings.model_copy(update={"public_certificate": certificate, "public_key": key})
