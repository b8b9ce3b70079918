"""The gateway's pages: the OpenAPI document for everyone, the API explorer for developers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from services.compiler.contract import OPENAPI
from services.compiler.envoy import compile_bootstrap, compose
from services.compiler.envoy.settings import EnvoySettings
from services.demo.seed import ADMIN, EDUCATOR, STUDENT
from services.gateway.pages import CONSOLE, STATIC, make_app
from services.shared.settings import Environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MESH: Any = None
"""Whose health nobody asks for here."""


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(make_app(MESH, development=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


async def test_the_document_is_that_of_the_contract(http: httpx.AsyncClient) -> None:
    answer = await http.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == json.loads(OPENAPI.read_text())


async def test_the_explorer_has_all_its_parts_and_no_others(http: httpx.AsyncClient) -> None:
    page = await http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(parts) == 5
    for part in parts:
        answer = await http.get(part)
        assert answer.status_code == 200, part
        assert (await http.get(part, headers={"if-none-match": answer.headers["etag"]})).status_code == 304


async def test_the_console_has_all_its_parts_and_no_others(http: httpx.AsyncClient) -> None:
    page = await http.get("/console")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    parts, unread = set[str](), set(re.findall(r'(?:src|href)="(/[^"]+)"', page.text))
    while unread:
        answers = [await http.get(part) for part in sorted(unread)]
        assert {answer.status_code for answer in answers} == {200}
        parts |= unread
        unread = {part for answer in answers for part in re.findall(r'from "([^"]+)"', answer.text)} - parts
    files = [path for path in CONSOLE.rglob("*") if path.suffix in {".js", ".mjs", ".css"}]
    assert parts == {f"/console/{path.relative_to(CONSOLE)}" for path in files}


async def test_nothing_else_is_served(http: httpx.AsyncClient) -> None:
    for path in (
        "/console/../convert.py",
        "/console/nothing",
        "/docs/../pages.py",
        "/docs/swagger-ui",
        "/docs/nothing",
        "/elsewhere",
    ):
        answer = await http.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["details"][0]["reason"] == "ROUTE_NOT_FOUND"


async def test_production_has_the_document_and_no_explorer() -> None:
    transport = httpx.ASGITransport(make_app(MESH, development=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        assert (await http.get("/openapi.json")).status_code == 200
        for path in ("/docs", "/docs/explorer.js", "/console", "/console/console.js"):
            assert (await http.get(path)).status_code == 404


@pytest.mark.parametrize(("environment", "routed"), [(Environment.DEVELOPMENT, True), (Environment.PRODUCTION, False)])
def test_envoy_routes_the_explorer_in_development_alone(environment: Environment, *, routed: bool) -> None:
    bootstrap = json.dumps(compile_bootstrap(compose(EnvoySettings(env=environment))))
    for page in ("/docs", "/console"):
        assert (f'{{"path": "{page}"}}' in bootstrap) is routed
    assert ("ConsoleService" in bootstrap) is routed
    assert '{"path": "/openapi.json"}' in bootstrap


def test_the_accounts_are_those_that_are_seeded() -> None:
    script = (STATIC / "explorer.js").read_text()
    offered = re.findall(r'email: "([^"]+)", password: "([^"]+)"', script)
    assert offered == [(account.email, account.password) for account in (STUDENT, EDUCATOR, ADMIN)]
    offered = re.findall(r'email: "([^"]+)", password: "([^"]+)"', (CONSOLE / "console.js").read_text())
    assert offered == [(ADMIN.email, ADMIN.password)]
