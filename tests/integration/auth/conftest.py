"""Auth, running on a database of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.administrators import Administrator, administering
from tests.support.auth import LIMITED, RunningAuth, running_auth
from tests.support.platform import Platform, running_platform
from tests.support.second_factors import Client, client_of
from tests.support.sharing import shared_or_own
from tests.support.smtp import Mailbox, smtp_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with smtp_server() as mailbox:
        yield mailbox


@pytest.fixture
async def own_auth(own_auth_database: Clone) -> AsyncIterator[RunningAuth]:
    async with running_auth(own_auth_database.owner_url, own_auth_database.app_url) as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def shared_auth(shared_auth_database: Clone) -> AsyncIterator[RunningAuth]:
    async with running_auth(shared_auth_database.owner_url, shared_auth_database.app_url) as running:
        yield running


@pytest.fixture
def auth(request: pytest.FixtureRequest) -> RunningAuth:
    """Give Auth: the file's or the test's own."""
    return shared_or_own(request, "auth", RunningAuth)


@pytest.fixture
async def platform(auth_database: Clone, education_database: Clone, payment_database: Clone) -> AsyncIterator[Platform]:
    """Give all services, on databases of the test's own."""
    async with running_platform(auth_database, education_database, payment_database) as running:
        yield running


@pytest.fixture
async def limited(auth_database: Clone) -> AsyncIterator[RunningAuth]:
    """Give an Auth with a production system's limits of failed attempts."""
    async with running_auth(auth_database.owner_url, auth_database.app_url, **LIMITED) as auth:
        yield auth


@pytest.fixture
async def client(auth: RunningAuth) -> AsyncIterator[Client]:
    async with client_of(auth) as client:
        yield client


@pytest.fixture
async def limited_client(limited: RunningAuth) -> AsyncIterator[Client]:
    async with client_of(limited) as client:
        yield client


@pytest.fixture
async def admin(auth: RunningAuth) -> AsyncIterator[Administrator]:
    async with administering(auth) as admin:
        yield admin
