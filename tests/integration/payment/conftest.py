"""Payment, or its ledger alone, running on a database of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.ledgers import Ledgers, running_ledgers
from tests.support.payment import RunningPayment, running_payment
from tests.support.receiver import Receiver, receiving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone


@pytest.fixture
async def payment(payment_database: Clone) -> AsyncIterator[RunningPayment]:
    async with running_payment(payment_database.app_url, payment_database.owner_url) as running:
        yield running


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
