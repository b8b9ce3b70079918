"""The commands of the pages, run as they stand, in order, on a running system: README's first calls in every client."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.pages import ROOT, blocks, shell_lines

if TYPE_CHECKING:
    from tests.support.system import LocalSystem

RUN = ("README.md", "docs/local.md", "docs/operations.md", "docs/webhooks.md", "generated/typescript/README.md")
NOT_RUN = re.compile(
    r"""
    ^make\ (run|test|generate)|\bmake\ run$|  # They start, stop and rewrite what runs here.
    ^make\ \.tools/|^npm\ ci|^pip\ install|  # Prerequisites of these tests.
    ^azora\ doctor                              # Finds that what runs here is in the way.
    |\bazora\ up|--follow|--install-completion|^azora\ pki|--cacert|
    \b(ID|FILE|KID)\b|HOST:PORT  # Placeholders.
    """,
    re.VERBOSE,
)
LOGIN = (
    "curl -sf localhost:8080/v1/auth/login -H 'content-type: application/json' "
    """-d '{"email": "student@azora.world", "password": "Student@2024!"}' """
    """| python3 -c 'import json, sys; print(json.load(sys.stdin)["accessToken"])'"""
)
ANSWERS = ('"courses":', '"balances":', "azora.auth.v1.AuthService", 'currency: "AZR"', "currency: 'AZR'")
"""Of README's calls: curl and grpcurl, curl, grpcurl, Python, TypeScript."""
PREPARED = {
    "docs/webhooks.md": (
        f"TOKEN=$({LOGIN})",
        'WEBHOOK=$(curl -sf localhost:8080/v1/webhooks -H "authorization: Bearer $TOKEN" '
        """-H 'content-type: application/json' -d '{"url": "https://example.com/prepared"}' """
        """| python3 -c 'import json, sys; print(json.load(sys.stdin)["webhook"]["id"])')""",
    )
}
"""What a page takes for granted."""


def runnable(page: str) -> list[str]:
    """Return the command lines of a page that can be run here."""
    return [line for line in shell_lines(page) if not NOT_RUN.search(line.partition("  #")[0].rstrip())]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder like the checkout, with the files that pages tell people to save."""
    for name in (".venv", ".tools", "generated"):
        (tmp_path / name).symlink_to(ROOT / name)
    (program,) = [block.text for block in blocks("README.md") if block.language == "python"]
    (tmp_path / "first_call.py").write_text(program)
    return tmp_path


@pytest.mark.parametrize("page", RUN)
def test_commands_of_a_page_work(page: str, system: LocalSystem, folder: Path) -> None:
    lines = [*PREPARED.get(page, ()), *runnable(page)]
    for file in folder.glob("*.py"):
        file.write_text(file.read_text().replace("localhost:8080", system.target))
    # Without -f, curl ends with 0 whatever the answer is.
    script = re.sub(r"\bcurl (?!-sf)", "curl -f ", "\n".join(lines)).replace("localhost:8080", system.target)
    own = {"AZORA_HOME": str(system.home), "AZORA_PORT": str(system.port), "AZORA_URL": system.edge}
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(  # noqa: S603 - our own pages
        ["bash", "-euo", "pipefail", "-xc", script],  # noqa: S607
        cwd=folder,
        env=os.environ | own | {"PATH": path},
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    if page == "README.md":
        for answer in ANSWERS:
            assert answer in done.stdout, (answer, done.stdout, done.stderr)


def test_the_typescript_of_the_readme_is_the_example() -> None:
    (shown,) = [block.text for block in blocks("README.md") if block.language == "ts"]
    assert shown == (ROOT / "generated/typescript/examples/wallet.ts").read_text()


def test_alerts_name_metrics_that_are_served(system: LocalSystem) -> None:
    alerts = (ROOT / "docs/operations.md").read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    named = {re.sub("_(count|bucket|total)$", "", name) for name in re.findall(r"\bazora_[a-z_]+", alerts)}
    assert named
    served = httpx.get(f"http://{system.environment['AZORA_METRICS_LISTEN']}/metrics", trust_env=False).text
    assert named - set(re.findall(r"^# TYPE (\w+?)(?:_total)? ", served, re.MULTILINE)) == set()
