"""The documents of a statement, as readers of JSON and CSV see them."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from azora.payment.v1 import wallet_pb2
from google.protobuf.json_format import ParseDict

from services.payment.ledger.model import TransactionType
from services.payment.transactions.convert import statement_chunks, transaction
from services.payment.transactions.model import Movement, Statement
from services.shared.ids import new_id
from services.shared.money import Money

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

START, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)


def movement(sequence: int, amount: int, balance: int, description: str = "", **changes: Any) -> Movement:
    return Movement(
        id=new_id(),
        sequence=sequence,
        type=TransactionType.PAYMENT,
        amount=Money(amount),
        balance_after=Money(balance),
        create_time=datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC),
        description=description,
        payment_id=changes.get("payment_id", ""),
        reference=changes.get("reference", ""),
        counterparty_wallet_ids=changes.get("counterparty_wallet_ids", ()),
    )


async def document(
    kind: wallet_pb2.StatementFormat.ValueType, *groups: Sequence[Movement], start: datetime | None = START
) -> tuple[str, str]:
    """Return a statement's content type and text."""

    async def export() -> AsyncGenerator[Statement | Sequence[Movement]]:
        yield Statement(currency="AZR", start_time=start, end_time=END, opening=Money(50), closing=Money(75))
        for group in groups:
            yield group

    parts = [part async for part in statement_chunks(export(), kind)]
    (content_type,) = {part.content_type for part in parts}
    return content_type, b"".join(part.data for part in parts).decode()


async def test_json_is_one_document_whose_transactions_are_those_of_the_api() -> None:
    moved = [movement(1, 30, 80, 'a "quote", ü\n', reference="r"), movement(2, -5, 75, counterparty_wallet_ids=("w",))]
    content_type, text = await document(wallet_pb2.STATEMENT_FORMAT_JSON, moved[:1], moved[1:])
    read = json.loads(text)
    assert content_type == "application/json"
    assert [ParseDict(each, wallet_pb2.Transaction()) for each in read.pop("transactions")] == [
        transaction(each) for each in moved
    ]
    assert read == {
        "currency": "AZR",
        "startTime": "2026-03-01T00:00:00Z",
        "endTime": "2026-04-01T00:00:00Z",
        "openingBalance": {"minorUnits": "50", "currency": "AZR"},
        "closingBalance": {"minorUnits": "75", "currency": "AZR"},
    }


async def test_json_without_transactions_is_a_document_too() -> None:
    _, text = await document(wallet_pb2.STATEMENT_FORMAT_UNSPECIFIED, start=None)
    read = json.loads(text)
    assert read["transactions"] == []
    assert "startTime" not in read


async def test_csv_has_a_line_for_each_transaction_between_the_balances() -> None:
    moved = movement(1, 30, 80, 'a "quote", ü\r\nand a line'), movement(2, -5, 75)
    content_type, text = await document(wallet_pb2.STATEMENT_FORMAT_CSV, moved)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert content_type == "text/csv; charset=utf-8"
    assert [(row["type"], row["debit"], row["credit"], row["balance"]) for row in rows] == [
        ("OPENING_BALANCE", "", "", "50"),
        ("PAYMENT", "", "30", "80"),
        ("PAYMENT", "5", "", "75"),
        ("CLOSING_BALANCE", "", "", "75"),
    ]
    assert rows[1]["description"] == 'a "quote", ü\r\nand a line'
    assert rows[1]["time"] == "2026-03-04T05:06:07.000089Z"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
async def test_no_cell_of_a_csv_starts_a_formula(start: str) -> None:
    text = f"{start}HYPERLINK(1)"
    moved = movement(1, -30, 80, text, reference=text, payment_id=new_id())
    _, written = await document(wallet_pb2.STATEMENT_FORMAT_CSV, [moved])
    rows = list(csv.reader(io.StringIO(written, newline="")))
    assert not [cell for row in rows for cell in row if cell.startswith(start)]
    assert rows[2][-2:] == [f"'{text}", f"'{text}"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d"])
@pytest.mark.parametrize("before", [";", "\t", "\n", "\r\n", ';"', ';""'])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
async def test_no_cell_starts_a_formula_for_a_spreadsheet_that_is_set_to_another_separator(
    separator: str, before: str, start: str
) -> None:
    moved = movement(1, -30, 80, f"thanks{before}{start}HYPERLINK(1)", reference=f"{before}{start}1")
    _, written = await document(wallet_pb2.STATEMENT_FORMAT_CSV, [moved])
    rows = csv.reader(io.StringIO(written, newline=""), delimiter=separator)
    assert not [cell for row in rows for cell in row if cell.startswith(start)]
