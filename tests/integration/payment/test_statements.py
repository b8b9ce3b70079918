"""Statements: opening balance, what was moved, closing balance."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

import pytest
from azora.payment.v1 import wallet_pb2, wallet_service_pb2
from google.protobuf.json_format import ParseDict

from services.payment.transactions.operations import MAX_EXPORT_READS, MAX_EXPORTS, TransactionOperations
from services.payment.transactions.store import TransactionStore
from services.shared.errors import Overloaded
from services.shared.ids import new_id
from services.shared.money import Money
from services.shared.principal import Principal
from tests.support.ledgers import SESSIONS, Ledgers
from tests.support.refusals import outcome, refusal
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from services.payment.transactions.model import Movement, Statement
    from tests.support.payment import Person, RunningPayment

pytestmark = pytest.mark.shared


async def _document(person: Person, **fields: Any) -> str:
    request = wallet_service_pb2.ExportStatementRequest(**fields)
    chunks = person.payment.wallets.ExportStatement(request, metadata=person.metadata)
    return b"".join([chunk.data async for chunk in chunks]).decode()


async def _statement(person: Person, **fields: Any) -> tuple[int, list[wallet_pb2.Transaction], int]:
    """Return opening balance, transactions and closing balance."""
    read = json.loads(await _document(person, **fields))
    transactions = [ParseDict(each, wallet_pb2.Transaction()) for each in read["transactions"]]
    return int(read["openingBalance"]["minorUnits"]), transactions, int(read["closingBalance"]["minorUnits"])


async def test_opening_and_entries_are_closing_for_every_range(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    for minor in (1, 20, 300):
        await person.pay(minor)
    listed = list(reversed((await person.transactions()).transactions))
    for start in range(5):
        for end in range(start, 5):
            fields = {}
            if start:
                fields["start_time"] = listed[start - 1].create_time
            if end < 4:
                fields["end_time"] = listed[end].create_time
            opening, transactions, closing = await _statement(person, **fields)
            assert opening + sum(each.amount.minor_units for each in transactions) == closing
            assert transactions == listed[max(start - 1, 0) : end if end < 4 else None]
    assert (await _statement(person))[2] == 679


async def test_a_long_statement_is_whole_while_more_is_posted(payment: RunningPayment) -> None:
    person = await payment.rich(100_000)
    for _ in range(24):
        await asyncio.gather(*(person.pay(1) for _ in range(25)))
    posting = asyncio.gather(*(person.pay(1) for _ in range(25)))
    opening, transactions, closing = await _statement(person)
    await posting
    assert opening == 0
    assert [each.sequence for each in transactions] == list(range(1, len(transactions) + 1))
    assert 601 <= len(transactions) <= 626
    assert sum(each.amount.minor_units for each in transactions) == closing
    assert transactions[-1].balance_after.minor_units == closing


async def test_a_statement_begins_where_the_one_before_ended_while_more_is_posted(ledgers: Ledgers) -> None:
    user, store = await ledgers.rich(1000), TransactionStore()

    async def statement(start_time: datetime | None) -> Statement:
        async with ledgers.two.database.reading() as connection:
            return await store.find_statement(connection, user, "AZR", start_time=start_time, end_time=None)

    async def read_or_waiting() -> bool:
        waiting = "SELECT FROM pg_locks WHERE NOT granted AND pid NOT IN (SELECT {})"
        return reading.done() or bool(await ledgers.sql(waiting.format(SESSIONS)))

    async with ledgers.stalled():  # The payment has its time, and is not committed.
        paying = asyncio.create_task(ledgers.one.pay(user))
        await eventually(ledgers.waiting)
        reading = asyncio.create_task(statement(None))
        await eventually(read_or_waiting)
    await paying
    first = await reading
    second = await statement(first.end_time)
    assert first.closing == second.opening
    assert second.closing == Money(999)


async def test_csv_adds_up_and_holds_no_formula(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    await payment.earn(person, 5, reference="=1+1", description='=HYPERLINK("http://evil")')
    await person.pay(300)
    text = await _document(person, format=wallet_pb2.STATEMENT_FORMAT_CSV)
    opening, *rows, closing = list(csv.DictReader(io.StringIO(text, newline="")))
    assert (opening["type"], closing["type"]) == ("OPENING_BALANCE", "CLOSING_BALANCE")
    total = sum(int(row["credit"] or 0) - int(row["debit"] or 0) for row in rows)
    assert int(opening["balance"]) + total == int(closing["balance"]) == 705
    assert rows[1]["description"] == '\'=HYPERLINK("http://evil")'
    assert rows[1]["reference"] == "'=1+1"
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


async def test_a_wallet_that_is_not_there_yet_has_an_empty_statement(payment: RunningPayment) -> None:
    assert await _statement(payment.person()) == (0, [], 0)
    person = await payment.rich(1000)
    assert await _statement(person, currency="JPY") == (0, [], 0)
    assert (await _statement(await payment.rich(7)))[2] == 7


async def test_a_statement_of_what_cannot_be(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    for fields, reason in (({"currency": "XYZ"}, "CURRENCY_UNKNOWN"), ({"currency": "rand"}, "VALIDATION_FAILED")):
        assert (await refusal(_document(person, **fields))).reason == reason


async def test_a_person_exports_one_statement_at_a_time(payment: RunningPayment) -> None:
    person = await payment.rich(100_000)
    for _ in range(10):
        await asyncio.gather(*(person.pay(1) for _ in range(25)))
    outcomes = await asyncio.gather(*(outcome(_document(person)) for _ in range(8)))
    assert set(outcomes) == {"OK", "TOO_MANY_STREAMS"}
    assert await outcome(_document(person)) == "OK"


class CountingStore(TransactionStore):
    """Counts the statements that are read at once."""

    reading = most = 0

    async def find_statement(self, *arguments: Any, **named: Any) -> Statement:
        self.reading += 1
        self.most = max(self.most, self.reading)
        try:
            return await super().find_statement(*arguments, **named)
        finally:
            self.reading -= 1


async def test_slow_readers_hold_up_nobody(payment: RunningPayment) -> None:
    store, infrastructure = CountingStore(), payment.replica.infrastructure
    operations = TransactionOperations(
        database=infrastructure.database,
        store=store,
        pages=infrastructure.pages,
        max_watchers=1,
        max_watchers_per_user=1,
    )

    async with AsyncExitStack() as stack:

        async def begin() -> Statement | Sequence[Movement]:
            """Export a statement whose reader takes its beginning and no more."""
            export = operations.export_statement(
                principal=Principal(user_id=new_id()), currency="AZR", start_time=None, end_time=None
            )
            await stack.enter_async_context(aclosing(export))
            return await anext(export)

        await asyncio.gather(*(begin() for _ in range(MAX_EXPORTS)))
        assert 1 < store.most <= MAX_EXPORT_READS < MAX_EXPORTS
        with pytest.raises(Overloaded):
            await begin()


@pytest.mark.parametrize("call", ["ListTransactions", "WatchTransactions", "ExportStatement"])
async def test_history_is_for_those_who_are_signed_in(payment: RunningPayment, call: str) -> None:
    requests = {
        "ListTransactions": wallet_service_pb2.ListTransactionsRequest(),
        "WatchTransactions": wallet_service_pb2.WatchTransactionsRequest(),
        "ExportStatement": wallet_service_pb2.ExportStatementRequest(),
    }
    made: Any = getattr(payment.wallets, call)(requests[call])
    refused = await refusal(made if call == "ListTransactions" else made.read())
    assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "TOKEN_MISSING")
