"""Changes of a wallet's state beside everything else that happens to it, in two processes at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from services.payment.ledger.model import AccountState
from services.payment.payments.commands import Earn, ReserveRefund
from services.payment.payments.model import Earning, Refund
from services.payment.wallets.commands import ChangeWalletState, CloseWallet
from services.payment.wallets.store import WalletStore
from services.shared.errors import DomainError
from services.shared.ids import new_id
from services.shared.money import Money
from tests.support.ledgers import WINDOW, LedgerReplica, Ledgers, Scripted
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from services.payment.ledger.book import Book
    from services.payment.wallets.model import Wallet

ADMIN = new_id()


async def verdict(call: Awaitable[object]) -> str:
    """Return OK, or the reason of a refusal."""
    try:
        await call
    except DomainError as error:
        return error.reason
    return "OK"


async def wallet_of(ledgers: Ledgers, user_id: str) -> str:
    """Return the ID of a user's wallet."""
    (row,) = await ledgers.sql("SELECT id::text FROM wallets WHERE user_id = $1", user_id)
    wallet_id: str = row["id"]
    return wallet_id


async def state(replica: LedgerReplica, wallet_id: str, to: AccountState) -> Wallet:
    """Freeze or unfreeze a wallet."""
    return await replica.writer.run(ChangeWalletState(wallet_id, to, ADMIN, "why", ""))


async def close(replica: LedgerReplica, wallet_id: str) -> Wallet:
    """Close a wallet."""
    return await replica.writer.run(CloseWallet(wallet_id, AccountState.CLOSED, ADMIN, "why", "", Refund))


async def earn(replica: LedgerReplica, user_id: str, currency: str) -> None:
    """Earn 5 of a currency."""
    await replica.writer.run(Earn(Earning(user_id, Money(5, currency), new_id(), ""), "education"))


async def open_wallet(ledgers: Ledgers) -> tuple[str, str]:
    """Return a user and the wallet that registering opened."""
    user_id, wallet_id = new_id(), new_id()
    store = WalletStore()
    await ledgers.one.database.transaction(
        lambda connection: store.insert_wallet(connection, wallet_id=wallet_id, user_id=user_id)
    )
    return user_id, wallet_id


async def test_no_payment_succeeds_after_a_freeze_was_answered(ledgers: Ledgers) -> None:
    for _ in range(5):
        user = await ledgers.rich()
        wallet_id = await wallet_of(ledgers, user)
        frozen = asyncio.Event()

        async def pay(one: LedgerReplica, user: str = user, frozen: asyncio.Event = frozen) -> tuple[bool, str]:
            late = frozen.is_set()
            return late, await verdict(one.pay(user))

        async def payer(one: LedgerReplica) -> list[tuple[bool, str]]:
            return [await pay(one) for _ in range(20)]

        async def freeze(wallet_id: str = wallet_id, frozen: asyncio.Event = frozen) -> None:
            await state(ledgers.two, wallet_id, AccountState.FROZEN)
            frozen.set()

        freezing = asyncio.create_task(freeze())
        payers = await asyncio.gather(*(payer(one) for one in (ledgers.one, ledgers.two) for _ in range(4)))
        await freezing
        verdicts = Counter(each for payer_ in payers for each in payer_)
        assert verdicts[True, "OK"] == 0
        assert verdicts.keys() <= {(False, "OK"), (False, "WALLET_FROZEN"), (True, "WALLET_FROZEN")}
        assert await ledgers.posted(user) == 1000 - verdicts[False, "OK"]
    await ledgers.sound()


async def test_states_that_two_processes_set_at_once_are_a_sequence(ledgers: Ledgers) -> None:
    _, wallet_id = await open_wallet(ledgers)  # Without accounts: no lock orders them.
    states = (AccountState.FROZEN, AccountState.ACTIVE)
    calls = [state(one, wallet_id, to) for _ in range(6) for one in (ledgers.one, ledgers.two) for to in states]
    for each in await asyncio.gather(*map(verdict, calls)):
        assert each in ("OK", "OVERLOADED")
    rows = await ledgers.sql("SELECT sequence, state FROM wallet_state_changes ORDER BY sequence")
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(row["state"] == ("FROZEN", "ACTIVE")[number % 2] for number, row in enumerate(rows))
    (wallet,) = await ledgers.sql("SELECT state, revision FROM wallets")
    assert (wallet["state"], wallet["revision"]) == (rows[-1]["state"], len(rows))


@pytest.mark.parametrize("opened", [True, False], ids=["account", "no account"])
async def test_a_closing_and_a_credit_are_one_after_the_other(ledgers: Ledgers, *, opened: bool) -> None:
    for _ in range(8):
        user, wallet_id = await open_wallet(ledgers)
        if opened:
            await earn(ledgers.one, user, "AZR")
            await ledgers.one.pay(user, 5)
        calls = [close(ledgers.one, wallet_id), *(earn(ledgers.two, user, code) for code in ("AZR", "ZAR", "USD"))]
        closed, *credited = await asyncio.gather(*map(verdict, calls))
        rows = await ledgers.sql(
            "SELECT state, posted FROM accounts JOIN wallets USING (state) WHERE owner_id = $1"
            " AND wallets.id = owner_id",
            wallet_id,
        )
        (wallet,) = await ledgers.sql("SELECT state FROM wallets WHERE id = $1", wallet_id)
        assert set(credited) <= {"OK", "WALLET_CLOSED"}
        if closed == "OK":
            assert credited == ["WALLET_CLOSED"] * 3
            assert (wallet["state"], sum(row["posted"] for row in rows)) == ("CLOSED", 0)
        else:
            assert (closed, wallet["state"]) == ("WALLET_NOT_EMPTY", "ACTIVE")
            assert sum(row["posted"] for row in rows) == 5 * credited.count("OK") == 15
    await ledgers.sound()


async def test_an_account_that_is_opened_while_its_wallet_closes_keeps_it_open(ledgers: Ledgers) -> None:
    user, wallet_id = await open_wallet(ledgers)
    await earn(ledgers.one, user, "AZR")
    await ledgers.one.pay(user, 5)
    # The closing has found the wallet's accounts, and waits to write.
    async with ledgers.stalled("LOCK TABLE wallet_state_changes IN EXCLUSIVE MODE"):
        closing = asyncio.create_task(verdict(close(ledgers.one, wallet_id)))
        await eventually(ledgers.waiting)
        await earn(ledgers.two, user, "ZAR")
    assert await closing == "WALLET_NOT_EMPTY"
    assert await verdict(earn(ledgers.two, user, "ZAR")) == "OK"
    await ledgers.sound()


async def test_an_account_that_is_opened_while_its_wallet_is_frozen_is_frozen(ledgers: Ledgers) -> None:
    user, wallet_id = await open_wallet(ledgers)
    async with ledgers.stalled("LOCK TABLE wallet_state_changes IN EXCLUSIVE MODE"):
        freezing = asyncio.create_task(state(ledgers.one, wallet_id, AccountState.FROZEN))
        await eventually(ledgers.waiting)
        await earn(ledgers.two, user, "AZR")
    await freezing
    assert await verdict(ledgers.two.pay(user)) == "WALLET_FROZEN"
    assert [row["state"] for row in await ledgers.sql("SELECT state FROM accounts WHERE kind = 'WALLET'")] == ["FROZEN"]


async def test_a_closing_and_a_refund_are_one_after_the_other(ledgers: Ledgers) -> None:
    for number in range(8):
        user = await ledgers.rich(100)
        wallet_id = await wallet_of(ledgers, user)
        payment = await ledgers.one.pay(user, 100)
        refund = ReserveRefund(payment, None, "", ADMIN, False, number.to_bytes(32), WINDOW)
        calls = [close(ledgers.one, wallet_id), ledgers.two.writer.run(refund)]
        answers = await asyncio.gather(*map(verdict, calls if number % 2 else reversed(calls)))
        assert sorted(answers) in (["OK", "WALLET_CLOSED"], ["OK", "WALLET_NOT_EMPTY"])
    await ledgers.sound()


async def test_one_group_may_empty_close_and_credit_a_wallet(ledgers: Ledgers) -> None:
    user = await ledgers.rich(100)
    wallet_id = await wallet_of(ledgers, user)

    def nothing(_: Book) -> None:
        return None

    async with ledgers.stalled():
        first = asyncio.create_task(ledgers.one.earn(user, 5))
        await eventually(ledgers.waiting)
        calls = [
            ledgers.one.pay(user, 104),
            close(ledgers.one, wallet_id),
            ledgers.one.pay(user, 1),
            close(ledgers.one, wallet_id),
            ledgers.one.pay(user, 1),
            earn(ledgers.one, user, "AZR"),
            earn(ledgers.one, user, "ZAR"),
            ledgers.one.writer.run(Scripted(user, nothing)),
        ]
        waiting = [asyncio.create_task(verdict(call)) for call in calls]

        async def queued() -> bool:
            return ledgers.one.writer.waiting == 1 + len(calls)

        await eventually(queued)
    await first
    assert [await each for each in waiting] == [
        "OK",
        "WALLET_NOT_EMPTY",
        "OK",
        "OK",
        "WALLET_CLOSED",
        "WALLET_CLOSED",
        "WALLET_CLOSED",
        "OK",
    ]
    assert await ledgers.posted(user) == 0
    await ledgers.sound()


async def test_a_wallet_that_registering_and_a_credit_open_at_once_is_one(ledgers: Ledgers) -> None:
    store = WalletStore()
    for _ in range(8):
        user = new_id()

        async def register(user: str = user) -> None:
            await ledgers.two.database.transaction(
                lambda connection: store.insert_wallet(connection, wallet_id=new_id(), user_id=user)
            )

        await asyncio.gather(register(), earn(ledgers.one, user, "AZR"), register(), earn(ledgers.two, user, "AZR"))
        assert await ledgers.posted(user) == 10
    (row,) = await ledgers.sql("SELECT count(*) AS number, count(DISTINCT user_id) AS users FROM wallets")
    assert row["number"] == row["users"] == 8
    await ledgers.sound()


async def test_a_wallet_that_stays_locked_holds_up_nobody_else(ledgers: Ledgers) -> None:
    """An account cannot be opened in it meanwhile, which is answered to whoever asked for that."""
    others, user = [await ledgers.rich() for _ in range(8)], new_id()
    await ledgers.sql("INSERT INTO wallets (id, user_id) VALUES (uuidv7(), $1::uuid)", user)
    async with ledgers.stalled(f"SELECT FROM wallets WHERE user_id = '{user}' FOR NO KEY UPDATE"):
        calls = (verdict(ledgers.one.pay(other)) for other in others)
        locked, *free = await asyncio.gather(verdict(ledgers.one.earn(user, 5)), *calls)
    assert (locked, set(free)) == ("OVERLOADED", {"OK"})
    await ledgers.one.earn(user, 5)
    await ledgers.sound()
