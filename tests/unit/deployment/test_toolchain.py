"""The tools that install everything else: by hash, and with the authorities that the machine trusts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
BY_HASH = "--require-hashes -r"


def _environment_of_make(**changes: str) -> dict[str, str]:
    """Return the environment in which make runs its recipes."""
    make = ["make", "--silent", "--directory", str(ROOT), "--eval", "print-environment:\n\tenv", "print-environment"]
    done = subprocess.run(make, check=True, capture_output=True, text=True, env=dict(os.environ) | changes)  # noqa: S603 - ours
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def test_uv_trusts_the_authorities_of_the_machine_as_pip_does() -> None:
    assert _environment_of_make()["UV_SYSTEM_CERTS"] == "1"
    assert _environment_of_make(UV_SYSTEM_CERTS="0")["UV_SYSTEM_CERTS"] == "0"


def test_python_is_compiled_once_whatever_the_shell_says() -> None:
    assert "PYTHONDONTWRITEBYTECODE" not in _environment_of_make(PYTHONDONTWRITEBYTECODE="1")


def test_uv_is_installed_by_hash_on_machines_and_in_the_image() -> None:
    assert f"{BY_HASH} deploy/uv.txt" in (ROOT / "Makefile").read_text()
    assert f"{BY_HASH} /tmp/uv.txt" in (ROOT / "deploy/Dockerfile").read_text()
    assert (ROOT / "deploy/uv.txt").read_text().count("--hash=sha256:") > 1
    assert "!deploy/uv.txt" in (ROOT / ".dockerignore").read_text().splitlines()
