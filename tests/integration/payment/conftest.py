"""Payment, or its ledger alone, running on a database of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.ledgers import Ledgers, running_ledgers
from tests.support.payment import RunningPayment, running_payment
from tests.support.receiver import Receiver, receiving
from tests.support.sharing import shared_or_own

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone


@pytest.fixture
async def own_payment(own_payment_database: Clone) -> AsyncIterator[RunningPayment]:
    async with running_payment(own_payment_database.app_url, own_payment_database.owner_url) as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def shared_payment(shared_payment_database: Clone) -> AsyncIterator[RunningPayment]:
    async with running_payment(shared_payment_database.app_url, shared_payment_database.owner_url) as running:
        yield running


@pytest.fixture
def payment(request: pytest.FixtureRequest) -> RunningPayment:
    """Give Payment: the file's or the test's own."""
    return shared_or_own(request, "payment", RunningPayment)


@pytest.fixture
async def ledgers(payment_database: Clone) -> AsyncIterator[Ledgers]:
    """Return two replicas of the ledger."""
    async with running_ledgers(payment_database) as running:
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Return a server that webhooks are sent to."""
    async with receiving() as running:
        yield running
