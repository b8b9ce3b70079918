"""One dialect: who knows one service knows all. Names and shapes that the three services share."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.compiler.contract import load_contract

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SERVICES = load_contract().owners
POSITIONAL = {"self", "connection", "job", "event", "password", "password_hash"}
"""What an operation takes by position: what it is part of, or the one thing it is about."""
STORE_VERBS = ("is", "find", "lock", "list", "count", "insert", "update", "delete", "claim", "export", "erase")


def _files(name: str) -> list[Path]:
    return sorted(path for service in SERVICES for path in (ROOT / "services" / service).glob(f"*/{name}.py"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT / "services"))


def _classes(path: Path) -> Iterator[ast.ClassDef]:
    return (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef))


def _public_methods(owner: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in owner.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node


def _imported_folders(service: str, folder: Path) -> set[str]:
    """Return the resource folders of the same service that a resource folder imports, for types alone included."""
    package = f"services.{service}."
    imported = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and f"{node.module}.".startswith(package):
                inner = f"{node.module}.{node.names[0].name}".removeprefix(package).split(".")
                imported.add(inner[0])
    return {name for name in imported if (folder.parent / name).is_dir()} - {folder.name}


@pytest.mark.parametrize("service", SERVICES)
def test_resource_folders_form_no_circle(service: str) -> None:
    folders = [path for path in (ROOT / "services" / service).iterdir() if (path / "__init__.py").is_file()]
    graph = {folder.name: _imported_folders(service, folder) for folder in folders if folder.name != "migrations"}
    graphlib.TopologicalSorter(graph).prepare()  # Raises CycleError, which names the circle.


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_starts_by_calling_main_alone(service: str) -> None:
    tree = ast.parse((ROOT / "services" / service / "__main__.py").read_text())
    assert ast.unparse(tree.body[1]) == "import services.shared.start", "before anything is imported"
    statements = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr)]
    assert [type(node) for node in statements] == [ast.If]
    assert not (ROOT / "services" / service / "tables.py").exists()


@pytest.mark.parametrize("path", _files("operations"), ids=_name)
def test_operations_take_keyword_arguments(path: Path) -> None:
    for owner in _classes(path):
        if owner.name.endswith("Operations"):
            for method in _public_methods(owner):
                positional = {argument.arg for argument in method.args.args}
                assert positional <= POSITIONAL, f"{owner.name}.{method.name}"


@pytest.mark.parametrize("path", _files("servicer"), ids=_name)
def test_a_servicers_file_has_one_servicer_named_for_its_contract(path: Path) -> None:
    (servicer,) = _classes(path)
    (base,) = servicer.bases
    assert (
        ast.unparse(base).rpartition(".")[2].removesuffix("Servicer").removesuffix("Service") + "Servicer"
        == servicer.name
    )


@pytest.mark.parametrize("path", _files("store"), ids=_name)
def test_stores_speak_with_the_same_verbs(path: Path) -> None:
    for owner in _classes(path):
        for method in _public_methods(owner):
            assert method.name.split("_")[0] in STORE_VERBS, f"{owner.name}.{method.name}"
            assert method.args.args[1].arg == "connection", f"{owner.name}.{method.name}"


@pytest.mark.parametrize("path", _files("convert"), ids=_name)
def test_answers_are_made_by_functions_named_for_them(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.returns and not node.name.startswith("_"):
            made = ast.unparse(node.returns).rpartition(".")[2]
            if made.endswith("Response"):
                snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in made).lstrip("_")
                assert node.name == snake, f"{_name(path)}: {node.name}"


@pytest.mark.parametrize("path", _files("operations"), ids=_name)
def test_lists_are_answered_in_pages(path: Path) -> None:
    for owner in _classes(path):
        for method in _public_methods(owner):
            asked = {argument.arg for argument in method.args.kwonlyargs} & {"page_size", "page_token"}
            if asked and method.name.startswith("list_"):
                answered = ast.unparse(method.returns) if method.returns else ""
                kind = answered.partition("[")[0]
                # Encoded answers are pages, too; two lists tell more of a page than its items.
                assert kind in {"Page", "Response", "EventPage", "RevokedPage"}, f"{owner.name}.{method.name}"
                assert "page_token" in asked, f"{owner.name}.{method.name}"


def _statements(path: Path) -> Iterator[tuple[str, str]]:
    """Yield name and source of what a store's module builds once."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, ast.unparse(node.value)


@pytest.mark.parametrize("path", _files("store"), ids=_name)
def test_a_reader_that_locks_says_so(path: Path) -> None:
    for name, source in _statements(path):
        if ".with_for_update(" in source and "skip_locked=True" not in source:
            assert name.startswith("LOCK"), f"{_name(path)}: {name}"
    for owner in _classes(path):
        for method in _public_methods(owner):
            names = {node.id for node in ast.walk(method) if isinstance(node, ast.Name)}
            locks = any(name.startswith("LOCK") for name in names)
            if method.name.startswith("lock_"):
                assert locks, f"{owner.name}.{method.name}"
            elif locks:
                assert not method.name.startswith(("find_", "is_", "list_", "count_")), f"{owner.name}.{method.name}"
