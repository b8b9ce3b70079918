"""What waits apart from the groups: commands for locked accounts, large ones; and the stripes of writers."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from services.payment.ledger import session
from services.payment.ledger.model import STRIPES, AccountKind
from services.payment.ledger.session import STRIPE_LOCK, Session
from services.payment.ledger.writer import LARGE, MAX_LANES
from services.shared.errors import DependencyUnavailable
from services.shared.ids import new_id
from tests.support.ledgers import (
    SESSIONS,
    Ledgers,
    Scripted,
    purse,
    replica,
    running_ledgers,
    verdict,
    verdicts,
)
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from services.payment.ledger.book import Book
    from tests.support.postgres import Clone


async def test_accounts_that_are_locked_hold_up_nobody_else(ledgers: Ledgers) -> None:
    users = [await ledgers.rich() for _ in range(MAX_LANES + 3)]
    locked, free = users[:-1], users[-1]
    async with ledgers.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "SELECT FROM accounts WHERE owner_id IN (SELECT id FROM wallets WHERE user_id = ANY($1)) FOR UPDATE", locked
        )
        waiting = [asyncio.create_task(verdict(ledgers.one.pay(user))) for user in locked for _ in range(3)]
        paid = [await ledgers.one.pay(free) for _ in range(20)]
        assert len(set(paid)) == 20
        await eventually(lambda: _value(sum(task.done() for task in waiting) == 3 * (len(locked) - MAX_LANES)))
        assert {task.result() for task in waiting if task.done()} == {"OVERLOADED"}, "for those accounts alone"
        await transaction.commit()
    assert Counter(await asyncio.gather(*waiting))["OK"] == 3 * MAX_LANES
    await ledgers.one.pay(locked[0])
    await ledgers.sound()


async def test_a_large_command_has_a_group_of_its_own(ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("STATEMENT", "COMMAND", "TRANSACTION"):  # Until the others are done.
        monkeypatch.setattr(session, f"{bound}_TIMEOUT_SECONDS", 30)
    user, other = await ledgers.rich(), await ledgers.rich()

    def hold(book: Book) -> None:
        book.hold(purse(book, other), 5)

    async with ledgers.stalled("LOCK TABLE accounts IN SHARE MODE"):
        large = asyncio.create_task(ledgers.one.writer.run(Scripted(other, hold, postings=LARGE + 1)))
        await eventually(ledgers.waiting)
        quoted = ledgers.one.writer.quote(Scripted(user, lambda book: book.account(purse(book, user))))
        assert await verdict(quoted) == "OK"
        assert not large.done()
    await large
    assert len(await ledgers.sql(f"SELECT {SESSIONS}", app=True)) > 1, "each on a connection of its own"


async def test_large_commands_run_one_by_one_and_none_is_held_up_by_what_another_waits_for(ledgers: Ledgers) -> None:
    users, poor = [await ledgers.rich() for _ in range(3)], await ledgers.rich()

    def large(user: str) -> Scripted:
        return Scripted(user, lambda book: book.hold(purse(book, user), 5), postings=LARGE + 1)

    async with ledgers.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "SELECT FROM accounts WHERE owner_id = (SELECT id FROM wallets WHERE user_id = $1) FOR UPDATE", poor
        )
        locked = [asyncio.create_task(verdict(ledgers.one.writer.run(large(poor)))) for _ in range(2)]
        others = [ledgers.one.writer.run(large(user)) for user in users * MAX_LANES]
        assert await verdicts(*others) == {"OK": 3 * MAX_LANES}
        assert not any(task.done() for task in locked)
        await transaction.commit()
    assert await asyncio.gather(*locked) == ["OK", "OK"]


async def test_twenty_writers_find_stripes_of_their_own_and_lose_them_with_their_connection(ledgers: Ledgers) -> None:
    sessions = [await Session.open(ledgers.one.database) for _ in range(20)]
    assert len({opened.stripe for opened in sessions}) == 20
    assert not any(opened.shared for opened in sessions)
    user = await ledgers.rich()
    await ledgers.one.pay(user)
    for opened in sessions:
        opened.close()

    async def free() -> bool:
        return len(await ledgers.sql("SELECT FROM pg_locks WHERE classid = $1::bigint::oid", STRIPE_LOCK)) <= 1

    await eventually(free)


async def test_writers_without_a_stripe_share_one(payment_database: Clone) -> None:
    async with running_ledgers(payment_database) as ledgers, ledgers.connection() as connection:
        await connection.execute(
            "SELECT pg_advisory_lock($1, s) FROM generate_series(0, $2 - 1) s", STRIPE_LOCK, STRIPES
        )
        users = [await ledgers.rich() for _ in range(6)]
        calls = [one.pay(user) for one in (ledgers.one, ledgers.two) for user in users for _ in range(20)]
        assert await verdicts(*calls) == {"OK": 240}
        await ledgers.sound()


@pytest.mark.parametrize("stripes", [STRIPES, 8])
async def test_twenty_replicas_post_to_the_stripes_that_there_are(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch, stripes: int
) -> None:
    monkeypatch.setattr(session, "STRIPES", stripes)
    added = [replica(ledgers.clone.app_url) for _ in range(19)]
    replicas = [ledgers.one, *added]  # It has its stripe already, which may be one of these.
    shared, own = await ledgers.rich(), await asyncio.gather(*(ledgers.rich() for _ in replicas))
    calls = (each.pay(user) for each, user in zip(replicas, own, strict=True) for user in (user, user, shared))
    assert await verdicts(*calls) == {"OK": 60}
    used = "SELECT DISTINCT stripe FROM accounts WHERE kind = $1 AND stripe < $2"
    rows = await ledgers.sql(used, AccountKind.DONATIONS, stripes)
    assert len(rows) == min(20, stripes)
    await ledgers.sound()
    for each in added:
        await each.database.close()


async def test_a_stripe_that_is_not_given_in_time_is_unavailable(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "STATEMENT_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(session, "TAKE_STRIPE", session.TAKE_STRIPE.replace("WHERE", "WHERE pg_sleep(60) IS NULL AND"))
    with pytest.raises(DependencyUnavailable):
        await ledgers.one.pay(new_id())


async def test_a_refund_may_debit_another_stripe(ledgers: Ledgers) -> None:
    user = await ledgers.rich()
    await ledgers.one.pay(user, 300)
    await ledgers.two.pay(user, 200)
    rows = await ledgers.sql("SELECT stripe, posted FROM accounts WHERE kind = $1", AccountKind.DONATIONS)
    assert sorted(row["posted"] for row in rows) == [200, 300]
    assert len({row["stripe"] for row in rows}) == 2


async def _value(value: object) -> object:
    return value
