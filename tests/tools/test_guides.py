"""The guides "add an RPC", "add an event", "add a service", followed in a copy of the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import GUIDES, ROOT, blocks

CONTRACT_TESTS = ("tests/contract/test_contracts.py", "tests/contract/test_deploy.py")
"""That hold what is there against what is declared."""
SLOW = "not named_in_the_constructor and not nothing_of_the_local_system"


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of the checkout in which all guides were followed, and what they changed was compiled."""
    copy = tmp_path_factory.mktemp("followed")
    for name in _run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, copy / name)
    for page in GUIDES:
        for block in blocks(page):
            if block.language == "diff":
                _run("git", "apply", "-", cwd=copy, given=block.text)
            elif block.path:
                (copy / block.path).parent.mkdir(parents=True, exist_ok=True)
                (copy / block.path).write_text(block.text)
    _run(sys.executable, "protos/generate.py", cwd=copy)
    _run(sys.executable, "-m", "services.compiler", cwd=copy)
    return copy


def test_what_is_added_is_compiled(followed: Path) -> None:
    assert "| CountCertificates | `GET /v1/certificates:count` |" in (followed / "docs/policies.md").read_text()
    assert "| `azora.auth.v1.UserDisabled` | auth | payment |" in (followed / "docs/events.md").read_text()
    assert "/azora.notices.v1.NoticeService/SetNotice" in (followed / "envoy/compose.json").read_text()
    assert (followed / "deploy/kubernetes/notices.yaml").exists()


def test_what_is_added_works_and_is_complete(followed: Path) -> None:
    added = [block.path for page in GUIDES for block in blocks(page) if block.path.startswith("tests/")]
    options = ("-q", "-p", "no:cacheprovider", "-k", SLOW)
    _run(sys.executable, "-m", "pytest", *options, *added, *CONTRACT_TESTS, cwd=followed)


def test_what_is_added_passes_the_linter(followed: Path) -> None:
    changed = {block.path for page in GUIDES for block in blocks(page) if block.path.endswith(".py")}
    ruff = Path(sys.executable).with_name("ruff")
    _run(ruff, "check", "--no-cache", *sorted(changed), cwd=followed)
    _run(ruff, "format", "--no-cache", "--check", *sorted(changed), cwd=followed)


def _run(*command: str | Path, cwd: Path, given: str = "") -> str:
    paths = os.pathsep.join(map(str, (cwd, cwd / "generated")))  # Before those of the installed checkout.
    done = subprocess.run(  # noqa: S603 - ours
        command,
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        input=given,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
