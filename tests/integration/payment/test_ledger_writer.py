"""Commands that share a commit: each as if alone, whatever happens to the others, to callers or to the database."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from services.payment.errors import HoldNotActive, InsufficientFunds
from services.payment.ledger import session
from services.shared.errors import DependencyUnavailable, IdempotencyKeyReused, Overloaded
from services.shared.ids import new_id
from tests.support.ledgers import (
    SESSIONS,
    Ledgers,
    Scripted,
    keyed,
    proxied,
    purse,
    replica,
    verdict,
    verdicts,
)
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from services.payment.ledger.book import Book


async def test_what_waits_together_is_committed_together(ledgers: Ledgers) -> None:
    users = [await ledgers.rich() for _ in range(8)]
    paid = await asyncio.gather(*(ledgers.one.pay(user) for user in users for _ in range(16)))
    assert len(set(paid)) == 128
    (row,) = await ledgers.sql("SELECT count(DISTINCT xmin::text) FROM transactions WHERE type = 'PAYMENT'")
    assert row[0] <= 2
    await ledgers.sound()


async def test_one_bad_command_among_256_is_refused_alone(ledgers: Ledgers) -> None:
    user, poor = await ledgers.rich(), await ledgers.rich(5)

    def crash(_: Book) -> None:
        raise RuntimeError("a defect")

    bad = [
        ledgers.one.pay(poor, 6),
        ledgers.one.pay(new_id()),
        ledgers.one.writer.answer(Scripted(user, crash), keyed()),
        ledgers.one.writer.answer(Scripted(user, lambda book: book.hold(purse(book, user), 5)), keyed()),
    ]
    good = [ledgers.one.pay(user) for _ in range(252)]
    assert await verdicts(*good[:100], *bad, *good[100:]) == {
        "OK": 252,
        "INSUFFICIENT_FUNDS": 2,
        "RuntimeError": 1,
        "AttributeError": 1,  # What was made has no ID to answer with: then it has not been made.
    }
    assert await ledgers.posted(user) == 1000 - 252
    await ledgers.sound()


async def test_what_the_database_refuses_takes_no_other_command_along(ledgers: Ledgers) -> None:
    user, other = await ledgers.rich(), await ledgers.rich()

    def negative(book: Book) -> None:
        account = book.account(purse(book, other))
        book.update(replace(account, held_minor=-1))

    calls: list[Awaitable[object]] = [ledgers.one.pay(user) for _ in range(63)]
    calls.insert(30, ledgers.one.writer.run(Scripted(other, negative)))
    assert await verdicts(*calls) == {"OK": 63, "StatementFailed": 1}
    assert await ledgers.posted(user) == 1000 - 63
    await ledgers.sound()


async def test_twins_in_a_process_are_one_command(ledgers: Ledgers) -> None:
    user = await ledgers.rich()
    paid = await asyncio.gather(*(ledgers.one.pay(user, key="k") for _ in range(25)))
    assert len(set(paid)) == 1
    assert await ledgers.posted(user) == 999
    assert await ledgers.one.pay(user, key="k") == paid[0]


async def test_a_key_in_flight_belongs_to_its_request(ledgers: Ledgers) -> None:
    user = await ledgers.rich()
    calls = [ledgers.one.pay(user, key="k"), ledgers.one.pay(user, key="k", request="other")]
    assert await verdicts(*calls) == {"OK": 1, "IDEMPOTENCY_KEY_REUSED": 1}
    with pytest.raises(IdempotencyKeyReused):
        await ledgers.two.pay(user, key="k", request="other")
    assert await ledgers.posted(user) == 999


async def test_twins_in_two_processes_have_one_effect_and_their_groups_go_on(ledgers: Ledgers) -> None:
    users = [await ledgers.rich() for _ in range(4)]
    for number in range(5):
        shared = [f"{number}:{n}" for n in range(6)]
        calls = [
            one.pay(users[n % 4], key=key)
            for one in (ledgers.one, ledgers.two)
            for n, key in enumerate([*shared, *(new_id() for _ in range(20))])
        ]
        paid = await asyncio.gather(*calls)
        assert len(set(paid)) == 6 + 2 * 20
    (row,) = await ledgers.sql("SELECT count(*) FROM payments")
    assert row[0] == 5 * 46
    await ledgers.sound()


async def test_a_reference_and_a_wallet_that_two_processes_take_at_once_are_one(ledgers: Ledgers) -> None:
    for number in range(5):
        user = new_id()
        calls = [one.earn(user, 5, f"course:{number}") for one in (ledgers.one, ledgers.two) for _ in range(10)]
        assert len(set(await asyncio.gather(*calls))) == 1
        assert await ledgers.posted(user) == 5
    others = [one.earn(new_id(), 5, "prize") for one in (ledgers.one, ledgers.two) for _ in range(10)]
    assert await verdicts(*others) == {"OK": 1, "REFERENCE_USED": 19}
    await ledgers.sound()


async def test_a_hold_that_two_processes_capture_is_captured_once(ledgers: Ledgers) -> None:
    user = await ledgers.rich()
    for _ in range(10):
        hold = await ledgers.one.hold(user, 10)
        calls = [one.capture(hold) for one in (ledgers.one, ledgers.two) for _ in range(5)]
        assert await verdicts(*calls) == {"OK": 1, "HOLD_NOT_ACTIVE": 9}
    assert await ledgers.posted(user) == 900
    await ledgers.sound()


async def test_a_hold_is_read_after_its_account_is_locked(ledgers: Ledgers) -> None:
    """While a group waits for the lock, the hold is captured elsewhere."""
    user = await ledgers.rich()
    hold = await ledgers.one.hold(user, 400)
    async with ledgers.stalled():
        first = asyncio.create_task(ledgers.two.pay(user, 1))  # Its group holds the account's lock.
        await eventually(ledgers.waiting)
        captures = [asyncio.create_task(verdict(one.capture(hold))) for one in (ledgers.one, ledgers.two)]
    await first
    assert sorted([await capture for capture in captures]) == ["HOLD_NOT_ACTIVE", "OK"]
    assert await ledgers.posted(user) == 599
    await ledgers.sound()


async def test_a_caller_that_leaves_before_its_group_has_done_nothing(ledgers: Ledgers) -> None:
    user = await ledgers.rich()
    async with ledgers.stalled():
        first = asyncio.create_task(ledgers.one.pay(user, 1))
        await eventually(ledgers.waiting)
        second = asyncio.create_task(ledgers.one.pay(user, 10, key="k"))
        twins = [asyncio.create_task(ledgers.one.pay(user, 100, key="twin")) for _ in range(2)]
        await eventually(lambda: _value(ledgers.one.writer.waiting == 3))
        for gone in (second, twins[0]):
            gone.cancel()
        await asyncio.gather(second, twins[0], return_exceptions=True)
    await first
    await twins[1]
    assert await ledgers.posted(user) == 899
    await ledgers.one.pay(user, 10, key="k")
    assert await ledgers.posted(user) == 889


async def test_a_caller_that_leaves_while_its_group_commits_finds_its_effect_by_the_key(ledgers: Ledgers) -> None:
    user = await ledgers.rich()
    async with ledgers.stalled():
        call = asyncio.create_task(ledgers.one.pay(user, 10, key="k"))
        await eventually(ledgers.waiting)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    async def paid() -> bool:
        return await ledgers.posted(user) == 990

    await eventually(paid)
    (row,) = await ledgers.sql("SELECT id FROM payments")
    assert await ledgers.two.pay(user, 10, key="k") == str(row["id"])
    assert await ledgers.posted(user) == 990


async def test_callers_that_leave_at_random_never_lose_or_double_a_payment(ledgers: Ledgers) -> None:
    user = await ledgers.rich()
    keys = [new_id() for _ in range(120)]
    for number, key in enumerate(keys):
        call = asyncio.create_task(ledgers.one.pay(user, key=key))
        # As many turns of the loop later as the number says: before, within and after the group's steps.
        await asyncio.wait([call], timeout=0.0004 * (number % 30))
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    await asyncio.gather(*(ledgers.two.pay(user, key=key) for key in keys))
    assert await ledgers.posted(user) == 1000 - len(keys)
    await ledgers.sound()


async def test_an_answer_lost_at_the_commit_is_unknown_and_the_key_tells(ledgers: Ledgers) -> None:
    user = await ledgers.rich()
    async with proxied(ledgers.clone) as (through, proxy):
        await through.pay(user, 1)
        proxy.cuts = 1
        calls = [through.pay(user, 1, key=f"k{n}") for n in range(20)]
        assert await verdicts(*calls) == {"DEPENDENCY_UNAVAILABLE": 20}
        assert proxy.cut == 1
        assert await ledgers.posted(user) == 979, "it was committed"
        await asyncio.gather(*(through.pay(user, 1, key=f"k{n}") for n in range(20)))
    assert await ledgers.posted(user) == 979


async def test_a_group_whose_connection_was_lost_before_the_commit_runs_again(ledgers: Ledgers) -> None:
    user = await ledgers.rich()
    async with ledgers.stalled():
        call = asyncio.create_task(ledgers.one.pay(user, 10, key="k"))
        await eventually(ledgers.waiting)
        await ledgers.terminate()
    paid = await call
    assert await ledgers.one.pay(user, 10, key="k") == paid
    assert await ledgers.posted(user) == 990


async def test_a_frozen_writer_loses_its_session_and_others_go_on(ledgers: Ledgers) -> None:
    user = await ledgers.rich()
    unlocked = threading.Event()
    available: list[int] = []

    async def lock() -> None:
        connection = await asyncpg.connect(ledgers.clone.owner_url.replace("+asyncpg", ""))
        await connection.execute("SELECT FROM accounts FOR UPDATE")
        await connection.close()
        unlocked.set()

    def freeze(book: Book) -> None:
        """Stop the process with its locks held, until somebody else has got them."""
        available.append(book.account(purse(book, user)).available_minor)
        book.hold(purse(book, user), 5)
        if unlocked.is_set():
            return
        thread = threading.Thread(target=lambda: asyncio.run(lock()))
        thread.start()
        assert unlocked.wait(timeout=10)
        thread.join()

    await ledgers.one.writer.run(Scripted(user, freeze))
    assert available == [1000, 1000], "the first run was rolled back, and ran again"
    await ledgers.one.pay(user, 995)
    assert await ledgers.posted(user) == 5


@pytest.mark.parametrize(
    ("payments_before", "expected"),
    [(3, {"OK": 5}), (0, {"DEPENDENCY_UNAVAILABLE": 5})],
    ids=["while it executes the statement", "while it prepares it"],
)
async def test_a_process_that_stands_still_while_it_writes_loses_its_session(
    ledgers: Ledgers, payments_before: int, expected: dict[str, int]
) -> None:
    """It then reads at once what PostgreSQL answered and that it ended the session."""
    user = await ledgers.rich()
    for _ in range(payments_before):
        await ledgers.one.pay(user, 10)
    locked, unlock = threading.Event(), threading.Event()

    async def hold() -> None:
        async with ledgers.connection(app=True) as connection:
            async with ledgers.stalled():
                locked.set()
                unlock.wait(timeout=10)

            async def ended() -> bool:
                return not await connection.fetch(f"SELECT {SESSIONS} AND state <> 'idle'")

            await eventually(ended)

    thread = threading.Thread(target=lambda: asyncio.run(hold()))
    thread.start()
    assert await asyncio.to_thread(locked.wait, 10)
    calls = asyncio.create_task(verdicts(*(ledgers.one.pay(user, 10, key=f"k{n}") for n in range(5))))
    await eventually(ledgers.waiting)
    unlock.set()
    thread.join()
    assert await calls == expected
    await asyncio.gather(*(ledgers.one.pay(user, 10, key=f"k{n}") for n in range(5)))
    assert await ledgers.posted(user) == 950 - 10 * payments_before
    await ledgers.sound()


async def test_groups_that_are_too_slow_become_smaller(ledgers: Ledgers) -> None:
    """A group that takes longer than a transaction may stand still runs twice; the next are a quarter as large."""
    user = await ledgers.rich()
    runs: list[int] = []

    def slow(_: Book) -> None:
        runs.append(1)
        end = time.monotonic() + 0.004
        while time.monotonic() < end:
            pass

    async def round_of_300() -> dict[str, int]:
        return await verdicts(*(ledgers.one.writer.run(Scripted(user, slow)) for _ in range(300)))

    assert await round_of_300() == {"DEPENDENCY_UNAVAILABLE": 300}
    assert len(runs) == 600
    assert await round_of_300() == {"OK": 300}


async def test_more_than_may_wait_is_refused_at_once(ledgers: Ledgers) -> None:
    user = await ledgers.rich()
    one = replica(ledgers.clone.app_url, max_waiting=8)
    async with ledgers.stalled():
        calls = [asyncio.create_task(one.pay(user)) for _ in range(8)]
        await eventually(lambda: _value(one.writer.waiting == 8))
        with pytest.raises(Overloaded):
            await one.pay(user)
    await asyncio.gather(*calls)
    await one.pay(user)
    assert await ledgers.posted(user) == 991
    await one.database.close()


async def test_a_group_that_times_out_is_followed_by_smaller_ones(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await ledgers.rich()
    monkeypatch.setattr(session, "STATEMENT_TIMEOUT_SECONDS", 0.2)
    one = replica(ledgers.clone.app_url)
    async with ledgers.stalled():
        assert await verdicts(*(one.pay(user) for _ in range(300))) == {"DEPENDENCY_UNAVAILABLE": 300}
    assert await verdicts(*(one.pay(user) for _ in range(300))) == {"OK": 300}
    (row,) = await ledgers.sql("SELECT count(DISTINCT xmin::text) FROM transactions WHERE type = 'PAYMENT'")
    assert row[0] == 2
    await one.database.close()


async def test_callers_of_one_failed_group_do_not_share_a_traceback(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await ledgers.rich()
    monkeypatch.setattr(session, "STATEMENT_TIMEOUT_SECONDS", 0.05)
    one = replica(ledgers.clone.app_url)
    frames = []

    async def failing() -> None:
        with pytest.raises(DependencyUnavailable) as failed:
            await one.pay(user)
        frames.append(len(failed.traceback))

    async with ledgers.stalled():
        await asyncio.gather(*(failing() for _ in range(50)))
    assert len(frames) == 50
    assert max(frames) < 10
    await one.database.close()


async def test_two_processes_share_one_wallet_fairly(ledgers: Ledgers) -> None:
    user = await ledgers.rich()

    async def spend(one: Any) -> int:
        for _ in range(100):
            await one.pay(user)
        return 100

    assert await asyncio.gather(*(spend(one) for one in (ledgers.one, ledgers.two) for _ in range(4))) == [100] * 8
    assert await ledgers.posted(user) == 200
    await ledgers.sound()


async def test_fifty_spends_in_two_processes_spend_a_balance_once(ledgers: Ledgers) -> None:
    user = await ledgers.rich()
    calls = [one.pay(user, 900) for one in (ledgers.one, ledgers.two) for _ in range(25)]
    assert await verdicts(*calls) == {"OK": 1, "INSUFFICIENT_FUNDS": 49}


async def test_refusals_are_kept_and_faults_are_not(ledgers: Ledgers) -> None:
    user = await ledgers.rich(5)
    hold = await ledgers.one.hold(user, 5)
    with pytest.raises(InsufficientFunds):
        await ledgers.one.pay(user, 5, key="poor")
    await ledgers.one.earn(user, 100)
    assert await verdict(ledgers.two.pay(user, 5, key="poor")) == "INSUFFICIENT_FUNDS"
    await ledgers.one.capture(hold)
    with pytest.raises(HoldNotActive):
        await ledgers.two.capture(hold)


async def _value(value: object) -> object:
    return value
