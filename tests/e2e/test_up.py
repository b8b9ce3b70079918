"""The one-command system as a person has it: started, hurt, interrupted, started again."""

from __future__ import annotations

import os
import re
import signal
import socket
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.system import local_system
from tests.support.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.system import LocalSystem

from tests.support.services import ALL_HEALTHY, SERVED

PROCESSES = {"postgres", *SERVED, "envoy"}
DEPTH = 12


@pytest.fixture(scope="module")
def kept_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    """Give a system in a deep and private home, which keeps its data from one test to the next."""
    private = tmp_path_factory.mktemp("private")
    private.chmod(0o700)
    with local_system() as system:
        system.home = private.joinpath(*["a-folder-with-a-long-name"] * DEPTH) / "home"
        system.home.parent.mkdir(parents=True)
        yield system


@pytest.fixture
def kept_system(kept_home: LocalSystem) -> Iterator[LocalSystem]:
    """Give a stopped system, which may have run before."""
    yield kept_home
    kept_home.end()


def _healthy(system: LocalSystem) -> bool:
    status, services = system.health()
    return status == httpx.codes.OK and ALL_HEALTHY.items() <= services.items()


def test_in_a_deep_and_private_home_it_starts_seeded_keeps_its_data_and_restarts_what_is_killed(
    kept_system: LocalSystem,
) -> None:
    kept_system.start()
    assert _healthy(kept_system)
    assert set(kept_system.processes()) == PROCESSES
    for promised in (f"curl {kept_system.edge}/v1/courses", "student@azora.world", "grpcurl -plaintext", "make reset"):
        assert promised in kept_system.output
    courses = httpx.get(f"{kept_system.edge}/v1/courses", trust_env=False).json()["courses"]
    assert len(courses) == 2
    kept_system.stop()
    assert "the data is kept" in kept_system.output

    kept_system.start("--no-seed", "--replicas", "payment=2")
    assert set(kept_system.processes()) == PROCESSES | {"payment-1"}
    assert httpx.get(f"{kept_system.edge}/v1/courses", trust_env=False).json()["courses"] == courses
    _freeze_and_half_stop(kept_system)
    _kill_one_by_one(kept_system)
    second = kept_system.azora("up")
    assert second.returncode == 1
    assert f"already running on {kept_system.home}" in second.stderr
    assert kept_system.azora("reset").returncode == 1
    assert eventually_sync(lambda: _healthy(kept_system), within_seconds=20)
    kept_system.stop()


def _freeze_and_half_stop(system: LocalSystem) -> None:
    """Freeze a replica, and ask PostgreSQL to end when its sessions do: both still run, and neither does its work."""
    for name, number in (("payment-1", signal.SIGSTOP), ("postgres", signal.SIGTERM)):
        process = system.processes()[name]
        process.send(number)
        said = f"process health changed: {name} is unhealthy"
        assert eventually_sync(lambda said=said: said in system.output, within_seconds=20)  # type: ignore[misc]
        process.send(signal.SIGCONT)
    said = "process health changed: payment-1 is healthy"
    assert eventually_sync(lambda: said in system.output, within_seconds=20)


def _kill_one_by_one(system: LocalSystem) -> None:
    for name in ("payment", "gateway", "envoy", "postgres"):
        killed = system.processes()[name]
        killed.send(signal.SIGKILL)
        assert eventually_sync(lambda name=name: f"{name} restarted" in system.output, within_seconds=30)  # type: ignore[misc]
        assert f"{name} ended (killed by SIGKILL); restarting" in system.output
        assert system.processes()[name] != killed
        assert eventually_sync(lambda: _healthy(system), within_seconds=20)


def test_a_killed_run_leaves_nothing_that_hinders_the_next_and_a_reset_nothing_at_all(kept_system: LocalSystem) -> None:
    kept_system.start("--no-seed")
    processes = kept_system.processes()
    assert kept_system.process
    kept_system.process.kill()
    kept_system.wait()
    # At once, while what it left may still be ending.
    kept_system.start("--no-seed")
    assert [name for name, identity in processes.items() if identity.alive] == []
    assert _healthy(kept_system)
    _interrupt_twice(kept_system)

    private = kept_system.home.parents[DEPTH]
    assert private.stat().st_mode & 0o777 == 0o700
    assert kept_system.azora("reset").returncode == 0
    assert not kept_system.home.exists()


def _interrupt_twice(system: LocalSystem) -> None:
    """Press Ctrl-C, and again when a process does not stop: everything is killed."""
    processes = system.processes()
    os.kill(processes["payment"].pid, signal.SIGSTOP)
    system.interrupt()
    assert eventually_sync(lambda: not processes["envoy"].alive)
    system.interrupt()
    assert system.wait() == 0
    assert eventually_sync(lambda: not [identity for identity in processes.values() if identity.alive])


def test_a_stopped_start_leaves_nothing(fresh_system: LocalSystem) -> None:
    fresh_system.begin("--no-seed")
    assert eventually_sync(lambda: "migrating" in fresh_system.output, within_seconds=30)
    fresh_system.stop()


def test_a_taken_port_is_told_before_anything_starts(fresh_system: LocalSystem) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", fresh_system.port))
        other.listen()
        refused = fresh_system.azora("up")
    assert refused.returncode == 1
    assert f"Port {fresh_system.port} is in use" in refused.stderr
    assert not (fresh_system.home / "postgres").exists()


def test_a_part_that_fails_is_named_with_the_end_of_its_log(fresh_system: LocalSystem) -> None:
    fresh_system.environment = {"AZORA_LOG_LEVEL": "LOUD"}
    failed = fresh_system.azora("up")
    assert failed.returncode == 1
    assert "failed (exit code 1)" in failed.stderr
    assert re.search(r"  \| \w+ failed to start: AZORA_LOG_LEVEL", failed.stderr)
    assert fresh_system.processes() == {}
