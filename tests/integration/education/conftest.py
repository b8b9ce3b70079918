"""Education, running on a database of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.education import RunningEducation, running_education
from tests.support.sharing import shared_or_own

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone


@pytest.fixture
async def own_education(own_education_database: Clone) -> AsyncIterator[RunningEducation]:
    async with running_education(own_education_database.app_url, own_education_database.owner_url) as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def shared_education(shared_education_database: Clone) -> AsyncIterator[RunningEducation]:
    async with running_education(shared_education_database.app_url, shared_education_database.owner_url) as running:
        yield running


@pytest.fixture
def education(request: pytest.FixtureRequest) -> RunningEducation:
    """Give Education: the file's or the test's own."""
    return shared_or_own(request, "education", RunningEducation)
