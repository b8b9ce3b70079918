"""The rules of style that a linter does not know."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESOURCES = {
    "auth": {
        "accounts",
        "api_keys",
        "audit",
        "confirmations",
        "devices",
        "factors",
        "failures",
        "email_addresses",
        "introspection",
        "erasures",
        "exports",
        "links",
        "mail",
        "mfa",
        "password_changes",
        "passwords",
        "registrations",
        "revocations",
        "sessions",
        "sign_in",
        "signing_keys",
        "tokens",
        "users",
    },
    "education": {
        "people",
        "courses",
        "catalogue",
        "enrollments",
        "learning",
        "settlements",
        "quizzes",
        "certificates",
        "credentials",
    },
    "payment": {
        "audit",
        "erasures",
        "holds",
        "ledger",
        "payments",
        "proofs",
        "transactions",
        "transfers",
        "wallets",
        "webhooks",
    },
}
RESOURCE_FILES = {"__init__", "servicer", "internal_servicer", "convert", "operations", "store", "model", "jobs"}
RESOURCE_FILES.add("commands")  # What a resource has the ledger's writer do.
LEDGER_FILES = {"book", "chain", "debits", "group", "loading", "pending", "rows", "session", "writer", "writing"}
"""How commands are decided and written, once for all resources."""
PROOF_FILES = {"comparisons", "merkle", "note", "publication", "verification"}
"""How the ledger is verified, and what is kept of it elsewhere."""
COURSE_FILES = {"authoring", "content", "drafts", "edits", "lessons"}
"""How courses are written: another concern than how they are read, of the same gRPC service."""
ENROLLMENT_FILES = {"progress"}
"""What is read of enrolments: by learners, watches and the catalogue."""
CREDENTIAL_FILES = {"documents"}
"""What is signed: JSON documents of other standards."""
PASSWORD_FILES = {"worker", "workers"}
"""Where bcrypt runs, a program of its own, and how it is called."""
OWN_FILES = {
    "courses": COURSE_FILES,
    "credentials": CREDENTIAL_FILES,
    "enrollments": ENROLLMENT_FILES,
    "ledger": LEDGER_FILES,
    "passwords": PASSWORD_FILES,
    "proofs": PROOF_FILES,
}
SERVICE_FILES = {"__init__", "__main__", "app", "settings", "errors", "ports", "clients", "admin"}
SERVICE_FILES |= {"container", "personal_data"}  # Parts of a composition root that would be too long.
MOST_LINES, MOST_FUNCTION_LINES = 400, 70


def _tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(  # noqa: S603
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],  # noqa: S607
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


PYTHON = [
    path
    for path in _tracked("*.py")
    if not path.is_relative_to(ROOT / "generated") or path.is_relative_to(ROOT / "generated/azora/client")
]
PRODUCT = [path for path in PYTHON if path.relative_to(ROOT).parts[0] in ("services", "interceptors", "generated")]
TESTS = [path for path in PYTHON if path.is_relative_to(ROOT / "tests")]


@cache
def _attributes(path: Path) -> list[tuple[int, str]]:
    return [
        (node.lineno, f"{node.value.id}.{node.attr}")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PYTHON, ids=_name)
def test_files_and_functions_are_short(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            assert node.end_lineno - node.lineno < MOST_FUNCTION_LINES, node.name


def test_nothing_edits_the_import_path() -> None:
    for path in PYTHON:
        assert "sys.path" not in {name for _, name in _attributes(path)}, path


def test_only_the_error_interceptor_aborts() -> None:
    for path in PRODUCT:
        if path != ROOT / "interceptors/errors.py":
            aborts = [name for _, name in _attributes(path) if name.startswith("context.abort")]
            assert not aborts, path


def test_only_settings_read_the_environment() -> None:
    for path in PRODUCT:
        if path.name != "settings.py":
            reads = [line for line, name in _attributes(path) if name in ("os.environ", "os.getenv", "os.environb")]
            assert not reads, f"{_name(path)}:{reads}"


def test_no_file_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "base_service", "lib"}
    assert not [path for path in PYTHON if drawers & {path.stem, path.parent.name}]


@pytest.mark.parametrize("service", RESOURCES)
def test_every_service_has_the_same_file_names(service: str) -> None:
    folder = ROOT / "services" / service
    for path in PRODUCT:
        if path.is_relative_to(folder) and "migrations" not in path.parts:
            inner = path.relative_to(folder)
            if len(inner.parts) == 1:
                assert path.stem in SERVICE_FILES, inner
            else:
                assert inner.parts[0] in RESOURCES[service], inner
                assert path.stem in RESOURCE_FILES | OWN_FILES.get(inner.parts[0], set()), inner


def test_models_are_frozen_and_know_the_standard_library_alone() -> None:
    for path in PRODUCT:
        if path.name == "model.py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and not node.bases:
                    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
                    assert any("frozen=True" in decorator for decorator in decorators), f"{_name(path)}: {node.name}"
                if isinstance(node, ast.ImportFrom) and node.module:
                    assert not node.module.startswith(("sqlalchemy", "grpc", "google", "azora")), _name(path)


def test_handlers_translate_and_do_nothing_else() -> None:
    for path in PRODUCT:
        if path.name.endswith("servicer.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                assert not isinstance(node, ast.Try | ast.While | ast.With | ast.AsyncWith), f"{_name(path)}: {node}"


def test_tests_wait_for_what_they_need_and_never_for_time() -> None:
    for path in TESTS:
        if path != ROOT / "tests/support/waiting.py":
            sleeps = [line for line, name in _attributes(path) if name in ("time.sleep", "asyncio.sleep")]
            assert not sleeps, f"{_name(path)}:{sleeps}"


def test_no_test_is_skipped_in_silence() -> None:
    for path in TESTS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("mark.skip", "mark.skipif", "mark.xfail")
            ):
                assert any(keyword.arg == "reason" for keyword in node.keywords), f"{_name(path)}:{node.lineno}"
