"""What README and docs quote is what the system says: messages, reasons, methods and routes."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.api import annotations_pb2

from services.compiler.contract import load_contract
from services.shared.errors import DomainError
from tests.support.services import SERVICES

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
JSON_BLOCK = re.compile(r"```json\n(.*?)```", re.DOTALL)
METHOD = re.compile(r"(?<!//)\b(azora(?:\.\w+)+)/(\w+)")
ROUTE = re.compile(r"(?<![\w.])/v1/[\w/:{}]+")


def _errors(kind: type[DomainError] = DomainError) -> Iterator[type[DomainError]]:
    for error in kind.__subclasses__():
        yield error
        yield from _errors(error)


def _quoted() -> Iterator[dict[str, Any]]:
    for page in PAGES:
        for block in JSON_BLOCK.findall(page.read_text()):
            quoted = json.loads(block)
            if "message" in quoted:
                yield quoted


def test_quoted_refusals_are_sent() -> None:
    for name in SERVICES:
        importlib.import_module(f"services.{name}.errors")
    sent = {(error.reason, " ".join((error.__doc__ or "").split("\n\n")[0].split())) for error in _errors()}
    quoted = [(entry["details"][0]["reason"], entry["message"]) for entry in _quoted()]
    assert quoted
    assert [entry for entry in quoted if entry not in sent] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_methods_and_routes_exist(page: Path) -> None:
    contract = load_contract()
    methods = {(service.full_name, method.name) for service in contract.services for method in service.methods}
    assert set(METHOD.findall(page.read_text())) - methods == set()
    served = "\n".join(_routes())
    named = {route.rstrip(":") for route in ROUTE.findall(page.read_text())}
    assert {route for route in named if not re.search(rf"^{re.escape(route)}$", served, re.MULTILINE)} == set()


def _routes() -> Iterator[str]:
    for service in load_contract().declared:
        for method in service.methods:
            rule = method.GetOptions().Extensions[annotations_pb2.http]
            for binding in (rule, *rule.additional_bindings):
                yield from (value for _, value in binding.ListFields() if isinstance(value, str) and value[:1] == "/")
