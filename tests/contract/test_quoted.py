"""What README and docs quote is what the system says: messages, reasons, methods and routes. Links lead somewhere."""

from __future__ import annotations

import importlib
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from google.api import annotations_pb2

from services.compiler.contract import load_contract
from services.shared.errors import DomainError
from tests.support.pages import GUIDES, PAGES, ROOT
from tests.support.services import SERVICES

if TYPE_CHECKING:
    from collections.abc import Iterator

TOLD = [page for page in PAGES if page not in GUIDES]
"""Pages of what there is: guides show what is added."""
JSON_BLOCK = re.compile(r"```json\n(.*?)```", re.DOTALL)
METHOD = re.compile(r"(?<!//)\b(azora(?:\.\w+)+)/(\w+)")
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([\w-]+))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
ROUTE = re.compile(r"(?<![\w.])/v1/[\w/:{}]+")


def _errors(kind: type[DomainError] = DomainError) -> Iterator[type[DomainError]]:
    for error in kind.__subclasses__():
        yield error
        yield from _errors(error)


def _quoted() -> Iterator[dict[str, Any]]:
    for page in TOLD:
        for block in JSON_BLOCK.findall((ROOT / page).read_text()):
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


@pytest.mark.parametrize("page", TOLD)
def test_named_methods_and_routes_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    contract = load_contract()
    methods = {(service.full_name, method.name) for service in contract.services for method in service.methods}
    assert set(METHOD.findall(text)) - methods == set()
    served = "\n".join(_routes())
    named = {route.rstrip(":") for route in ROUTE.findall(text)}
    assert {route for route in named if not re.search(rf"^{re.escape(route)}$", served, re.MULTILINE)} == set()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_what_is_there(page: str) -> None:
    for target, anchor in LINK.findall((ROOT / page).read_text()):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        if anchor:
            headings = {
                re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in HEADING.findall(path.read_text())
            }
            assert anchor in headings, f"{target}#{anchor}"


def _routes() -> Iterator[str]:
    for service in load_contract().declared:
        for method in service.methods:
            rule = method.GetOptions().Extensions[annotations_pb2.http]
            for binding in (rule, *rule.additional_bindings):
                yield from (value for _, value in binding.ListFields() if isinstance(value, str) and value[:1] == "/")
