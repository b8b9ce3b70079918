"""Wallets that are looked up before a group locks anything, whatever else the process looks up meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from services.payment.app import EVENTS, KINDS
from services.payment.holds.model import Order, PaymentType
from services.payment.ledger import loading
from services.payment.ledger.group import Committer
from services.payment.ledger.pending import Pending
from services.payment.ledger.session import Session
from services.payment.payments.commands import CreatePayment
from services.shared.ids import new_id
from services.shared.money import Money
from services.shared.outbox import Outbox
from tests.support.ledgers import WINDOW, Ledgers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


@asynccontextmanager
async def committing(ledgers: Ledgers) -> AsyncIterator[tuple[Session, Committer]]:
    """Give what looks up and commits the groups of one process."""
    session = await Session.open(ledgers.one.database)
    try:
        yield session, Committer(KINDS, Outbox("payment", EVENTS))
    finally:
        session.close()


def payment_of(user_id: str) -> Pending:
    """Return a payment that waits."""
    command = CreatePayment(user_id, "", Order(PaymentType.DONATION, Money(1)), WINDOW)
    pending = Pending(command, None, submit_time=0, span=None)
    pending.waiters.append(asyncio.get_running_loop().create_future())
    return pending


async def test_a_wallet_that_is_forgotten_while_its_payment_waits_pays_all_the_same(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "MAX_OWNERS", 1)
    user, other = await ledgers.rich(), await ledgers.rich()
    group = [payment_of(user), payment_of(new_id())]
    async with committing(ledgers) as (session, committer):
        owners = await committer.resolve(session, group)
        await committer.resolve(session, [payment_of(other)])
        result = await committer.commit(session, group, owners)
    assert [outcome.error is None for _, outcome in result.outcomes] == [True, False]
    assert await ledgers.posted(user) == 999


async def test_a_wallet_that_another_group_finds_meanwhile_is_not_taken_without_its_account(ledgers: Ledgers) -> None:
    user = new_id()
    group = [payment_of(user)]
    async with committing(ledgers) as (session, committer):
        owners = await committer.resolve(session, group)
        await ledgers.two.earn(user, 1000)
        await committer.resolve(session, [payment_of(user)])
        result = await committer.commit(session, group, owners)
    assert result.outdated == group
