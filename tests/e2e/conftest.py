"""One running system for all tests of this folder that only call it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.people import People

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def http(edge: str) -> AsyncIterator[httpx.AsyncClient]:
    """Give an HTTP client of the running system."""
    async with httpx.AsyncClient(base_url=edge, timeout=20, trust_env=False) as opened:
        yield opened


@pytest.fixture
def people(http: httpx.AsyncClient) -> People:
    """Give people of the running system."""
    return People(http)
