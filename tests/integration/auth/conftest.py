"""Auth, running on a database of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.auth import RunningAuth, running_auth
from tests.support.smtp import Mailbox, smtp_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with smtp_server() as mailbox:
        yield mailbox


@pytest.fixture
async def auth(auth_database: Clone) -> AsyncIterator[RunningAuth]:
    async with running_auth(auth_database.owner_url, auth_database.app_url) as auth:
        yield auth
