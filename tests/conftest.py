"""Fixtures that several kinds of tests share; the heavy ones live for the session and start when first asked for."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

import services.shared.poller  # noqa: F401 - as the services do
from tests.support.http import plain_http
from tests.support.people import People

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.support.system import LocalSystem

pytest.register_assert_rewrite("tests.support.hurt")  # So that what failed is printed.
pytest_plugins = [
    "tests.support.sharing",
    "tests.support.postgres",
    "tests.support.redis",
    "tests.support.system",
    "tests.support.parallel",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the tests."""
    parser.addoption("--saga-kills", type=int, default=1, help="times that each service is killed amid sagas")
    parser.addoption("--kills", type=int, default=1, help="times that processes are killed in mid-load, one by one")
    parser.addoption("--seconds", type=float, default=2, help="duration of the load of opposite transfers")


def pytest_collection_finish() -> None:
    """Leave the modules and the tests out of garbage collections: they stand as long as the process does."""
    gc.freeze()


@pytest.fixture
def edge(system: LocalSystem) -> str:
    """Give the URL of the running system."""
    return system.edge


@pytest.fixture
async def http(edge: str) -> AsyncIterator[httpx.AsyncClient]:
    """Give an HTTP client of the running system."""
    async with plain_http(edge, timeout=20) as opened:
        yield opened


@pytest.fixture
def people(http: httpx.AsyncClient) -> People:
    """Give people of the running system."""
    return People(http)
