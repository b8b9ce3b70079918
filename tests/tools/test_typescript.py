"""The TypeScript client: its types are those of the OpenAPI document, and calls through the real Envoy fit them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from services.compiler.contract import OPENAPI
from services.gateway.pages import CONSOLE, STATIC
from services.shared.descriptors import DESCRIPTORS

if TYPE_CHECKING:
    from tests.support.system import LocalSystem

CLIENT = Path(__file__).parents[2] / "generated/typescript"
SILENT = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
"""Nothing is asked outside."""


def node(tool: str, *arguments: str | Path) -> None:
    """Run a tool of the client's development dependencies to its success."""
    ended = subprocess.run(  # noqa: S603 - our own tools
        [CLIENT / "node_modules/.bin" / tool, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
        cwd=CLIENT,
        env=os.environ | SILENT,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_types_are_those_of_the_document(tmp_path: Path) -> None:
    written = tmp_path / "schema.ts"
    node("openapi-typescript", str(OPENAPI), "--output", written, "--default-non-nullable", "false")
    assert written.read_text() == (CLIENT / "src/schema.ts").read_text(), "make generate-typescript"


def test_the_document_passes_the_linter() -> None:
    node("redocly", "lint", str(OPENAPI), "--config", CLIENT / "redocly.yaml")


def test_the_client_calls_the_system_in_json_and_grpc_web(system: LocalSystem) -> None:
    node("tsc")
    called = subprocess.run(  # noqa: S603
        ["node", CLIENT / "dist/test/calls.js", system.edge, str(DESCRIPTORS)],  # noqa: S607
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert called.returncode == 0, called.stderr


def test_the_explorer_is_swagger_ui_as_it_is_published() -> None:
    published = CLIENT / "node_modules/swagger-ui-dist"
    for vendored in (STATIC / "swagger-ui").iterdir():
        assert vendored.read_bytes() == (published / vendored.name).read_bytes(), vendored.name


def test_the_consoles_packages_are_those_that_are_published() -> None:
    for folder in (CONSOLE / "vendor").iterdir():
        published = CLIENT / "node_modules" / folder.name
        for vendored in folder.iterdir():
            (original,) = {*published.glob(vendored.name), *published.glob(f"dist/{vendored.name}")}
            assert vendored.read_bytes() == original.read_bytes(), f"{folder.name}/{vendored.name}"
