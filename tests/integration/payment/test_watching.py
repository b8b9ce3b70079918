"""What a watch of a wallet sees of what is posted to it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

from services.payment.transactions.model import Movement
from services.payment.transactions.operations import TransactionOperations
from services.payment.transactions.store import TransactionStore
from services.shared.principal import Principal
from services.shared.watching import Heartbeat
from tests.support.ledgers import LedgerReplica, replica
from tests.support.payment import RunningPayment, running_payment
from tests.support.refusals import described, refusal
from tests.support.serving import channel_to
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from azora.payment.v1 import wallet_pb2

    from tests.support.payment import Watch
    from tests.support.postgres import Clone


async def _transactions(watch: Watch, until: int) -> list[wallet_pb2.Transaction]:
    """Read a watch until it gives the transaction of a sequence."""
    seen: list[wallet_pb2.Transaction] = []
    while not seen or seen[-1].sequence < until:
        message: Any = await watch.read()
        if message.HasField("transaction"):
            seen.append(message.transaction)
    return seen


@asynccontextmanager
async def _second(payment: RunningPayment) -> AsyncIterator[LedgerReplica]:
    """Give a writer of another process."""
    other = replica(payment.app_url)
    try:
        yield other
    finally:
        await other.database.close()


async def test_a_watch_sees_what_two_writers_post_in_sequence(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    watch, late = person.watch(), person.watch(0)
    first: Any = await watch.read()
    assert first.heartbeat.sequence == 1
    assert first.heartbeat.send_time.seconds

    async with _second(payment) as other:
        await asyncio.gather(*(person.pay(1) for _ in range(60)), *(other.pay(person.id) for _ in range(60)))
    seen = await _transactions(watch, 121)
    assert [transaction.sequence for transaction in seen] == list(range(2, 122))
    assert [transaction.balance_after.minor_units for transaction in seen] == list(range(999, 879, -1))
    assert await _transactions(late, 121) == [await _first(person.watch(0)), *seen]
    listed = (await person.transactions(page_size=100)).transactions
    assert list(reversed(listed)) == seen[-100:]


async def _first(watch: Watch) -> wallet_pb2.Transaction:
    message: Any = await watch.read()
    return message.transaction  # type: ignore[no-any-return]


async def test_a_watch_resumes_after_the_sequence_it_is_given(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    for _ in range(4):
        await person.pay(1)
    broken = person.watch(0)
    seen = await _transactions(broken, 3)
    broken.cancel()
    await person.pay(1)
    seen += await _transactions(person.watch(seen[-1].sequence), 6)
    assert [transaction.sequence for transaction in seen] == [1, 2, 3, 4, 5, 6]


async def test_a_watch_of_the_future_is_refused(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    for sequence in (2, -1):
        assert (await refusal(person.watch(sequence).read())).fields == ("afterSequence",)


async def test_a_wallet_that_is_not_there_yet_can_be_watched(payment: RunningPayment) -> None:
    person = payment.person()
    watch = person.watch()
    first: Any = await watch.read()
    assert first.heartbeat.sequence == 0
    await payment.earn(person, 5)
    (earned,) = await _transactions(watch, 1)
    assert (earned.amount.minor_units, earned.sequence) == (5, 1)


async def test_a_person_has_a_bounded_number_of_watches_and_a_client_that_left_has_none(
    payment: RunningPayment,
) -> None:
    person = await payment.rich(1000)
    watches = [person.watch() for _ in range(10)]
    for watch in watches:
        await watch.read()
    refused = await refusal(person.watch().read())
    assert (refused.code, refused.reason, refused.metadata) == (
        "RESOURCE_EXHAUSTED",
        "TOO_MANY_STREAMS",
        {"limit": "10"},
    )
    watches[0].cancel()

    async def admitted() -> bool:
        return await person.watch().read() is not aio.EOF

    async with asyncio.timeout(0.1):
        assert await eventually(lambda: _unrefused(admitted))


async def _unrefused(call: Any) -> bool:
    try:
        return bool(await call())
    except aio.AioRpcError:
        return False


async def test_draining_ends_a_watch_so_that_its_client_goes_elsewhere(payment_database: Clone) -> None:
    async with AsyncExitStack() as stack:
        async with running_payment(payment_database.app_url, payment_database.owner_url) as payment:
            channel = await stack.enter_async_context(channel_to(payment.target))
            person = await payment.rich(1000)
            watch = replace(person, payment=replace(payment, channel=channel)).watch()
            await watch.read()
            ending = asyncio.ensure_future(_end(watch))
        error, failed = await asyncio.wait_for(ending, 5)
    assert error.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert (failed.code(), described(failed).reason) == (grpc.StatusCode.UNAVAILABLE, "STREAM_INTERRUPTED")


async def _end(watch: Watch) -> tuple[Any, aio.AioRpcError]:
    last: Any = None
    try:
        while (message := await watch.read()) is not aio.EOF:
            last = message
    except aio.AioRpcError as failed:
        return last.error, failed
    raise AssertionError("the watch ended without an error")


class CountingStore(TransactionStore):
    """Counts the statements of its watches."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def list_new_movements(
        self, connection: Any, positions: Mapping[tuple[str, str], int], count: int
    ) -> Mapping[tuple[str, str], Any]:
        self.asked.append(len(positions))
        return await super().list_new_movements(connection, positions, count)


async def test_many_watches_cost_one_statement_a_second(payment: RunningPayment) -> None:
    people = await asyncio.gather(*(payment.rich(1000) for _ in range(20)))
    store = CountingStore()
    operations = TransactionOperations(
        database=payment.replica.infrastructure.database,
        store=store,
        pages=payment.replica.infrastructure.pages,
        max_watchers=1000,
        max_watchers_per_user=1000,
    )
    polling = asyncio.create_task(operations.watchers.run())
    async with AsyncExitStack() as stack:
        watches = []
        for person in people * 10:
            watch = operations.watch_transactions(
                principal=Principal(user_id=person.id), currency="AZR", after_sequence=None
            )
            await stack.enter_async_context(aclosing(watch))
            watches.append(watch)
            assert await anext(watch) == Heartbeat(1)
        began, asked = asyncio.get_running_loop().time(), len(store.asked)
        await asyncio.gather(*(person.pay(1) for person in people))
        for watch in watches:
            movement = await anext(watch)
            assert isinstance(movement, Movement)
            assert movement.sequence == 2
        took = asyncio.get_running_loop().time() - began
        assert took < 2
        assert len(store.asked) - asked <= took + 1
        assert store.asked[-1] == 20, "each asks for all wallets"
    polling.cancel()


async def test_a_slow_reader_gets_everything(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    watch = person.watch(0)
    await watch.read()
    for _ in range(6):
        await asyncio.gather(*(person.pay(1) for _ in range(60)))
    seen = await _transactions(watch, 361)
    assert [transaction.sequence for transaction in seen] == list(range(2, 362))
