"""Education, running on a database of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.education import RunningEducation, running_education

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone


@pytest.fixture
async def education(education_database: Clone) -> AsyncIterator[RunningEducation]:
    async with running_education(education_database.app_url, education_database.owner_url) as running:
        yield running
