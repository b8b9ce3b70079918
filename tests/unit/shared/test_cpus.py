"""How many CPUs a process may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.shared.cpus import available_cpus

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))


@pytest.mark.parametrize(
    ("limits", "cpus"),
    [
        ({}, 8),
        ({"": "max 100000"}, 8),
        ({"": "100000 100000"}, 1),
        ({"": "50000 100000"}, 1),
        ({"": "250000 100000"}, 2),
        ({"": "1600000 100000"}, 8),
        ({"": "300000 100000", "a/b": "max 100000"}, 3),
        ({"a": "200000 100000", "a/b": "400000 100000"}, 2),
        ({"a/b": "not a limit"}, 8),
    ],
)
def test_a_container_has_as_many_cpus_as_its_limit(tmp_path: Path, limits: dict[str, str], cpus: int) -> None:
    process, groups = tmp_path / "cgroup", tmp_path / "groups"
    process.write_text("0::/a/b\n")
    for group, limit in limits.items():
        (groups / group).mkdir(parents=True, exist_ok=True)
        (groups / group / "cpu.max").write_text(f"{limit}\n")
    assert available_cpus(process=process, control_groups=groups) == cpus


def test_without_control_groups_the_affinity_decides(tmp_path: Path) -> None:
    assert available_cpus(process=tmp_path / "missing", control_groups=tmp_path) == 8
    assert available_cpus() <= 8
