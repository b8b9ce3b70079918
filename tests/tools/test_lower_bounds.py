"""The stubs in an environment of exactly the oldest versions that their distribution allows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

UV = Path(sys.executable).with_name("uv")
GENERATED = Path(__file__).parents[2] / "generated"
IMPORT_ALL = """
import importlib, pathlib, azora
for folder in azora.__path__:
    for path in pathlib.Path(folder).rglob("*.py"):
        name = ".".join(("azora", *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
        importlib.import_module(name)
        print(name)
"""


def test_stubs_import_with_the_oldest_versions_that_are_allowed(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    _run(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    oldest = ("--resolution", "lowest-direct")
    _run(UV, "pip", "install", "--quiet", "--python", python, *oldest, GENERATED)
    assert "azora.payment.v1.wallet_service_pb2_grpc" in _run(python, "-W", "error", "-c", IMPORT_ALL).split()


def _run(*arguments: str | Path) -> str:
    done = subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=300)  # noqa: S603 - ours
    assert done.returncode == 0, done.stderr
    return done.stdout
