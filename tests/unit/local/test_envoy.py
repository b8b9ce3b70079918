"""How Envoy is run."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from services.local import envoy
from services.local.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_envoy_has_a_worker_for_each_cpu_that_it_may_use_and_logs_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own defaults are a worker for each CPU of the machine, and ten seconds."""
    monkeypatch.setattr(envoy, "available_cpus", lambda: 3)
    arguments = envoy.envoy_process(Layout(tmp_path, tmp_path), "").command.arguments
    options = dict(pairwise(arguments))
    assert options["--concurrency"] == "3"
    assert options["--file-flush-interval-msec"] == "1000"
