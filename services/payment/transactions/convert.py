"""Conversion between transactions, statements and messages."""

from __future__ import annotations

import csv
import io
import json
import re
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from azora.payment.v1 import wallet_pb2
from azora.payment.v1 import wallet_service_pb2 as pb
from azora.type.v1 import heartbeat_pb2
from google.api import httpbody_pb2

from services.payment.ledger.model import TransactionType
from services.payment.transactions.model import MovementFilter, Statement
from services.shared.convert import money, timestamp, to_time
from services.shared.money import EARNED_TOKEN
from services.shared.watching import Heartbeat

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from services.payment.transactions.model import Movement
    from services.shared.money import Money
    from services.shared.pagination import Page

FORMULA_START = re.compile(r"""^(?=[\t\r\n])|(?:^|[;\t\r\n]"*)(?=[=+\-@＝＋－＠])""")  # noqa: RUF001 - spreadsheets take them
"""Where a spreadsheet takes a text for the start of a formula (OWASP, CSV injection): at its beginning, and after what
separates cells or rows for one that is set to semicolons or tabs."""
CHUNK_BYTES = 32 * 1024
"""Maximum size of a part of a document: Envoy fails on messages that do not fit into its buffer of 64 KiB."""
CSV_HEADER = (
    "sequence",
    "time",
    "type",
    "debit",
    "credit",
    "balance",
    "currency",
    "transaction_id",
    "payment_id",
    "counterparty_wallet_ids",
    "reference",
    "description",
)


def movement_filter(request: pb.ListTransactionsRequest) -> MovementFilter:
    """Return which transactions are asked for."""
    return MovementFilter(
        currency=request.currency or EARNED_TOKEN,
        type=TransactionType(_short(request.type)) if request.type else None,
        start_time=start_time(request),
        end_time=end_time(request),
        min_amount_minor=request.min_amount if request.HasField("min_amount") else None,
        max_amount_minor=request.max_amount if request.HasField("max_amount") else None,
        counterparty_wallet_id=request.counterparty_wallet_id,
        reference=request.reference,
    )


def start_time(request: pb.ListTransactionsRequest | pb.ExportStatementRequest) -> datetime | None:
    """Return the start of the time range, if there is one. Raises ValidationFailed."""
    return to_time(request.start_time, field="startTime") if request.HasField("start_time") else None


def end_time(request: pb.ListTransactionsRequest | pb.ExportStatementRequest) -> datetime | None:
    """Return the end of the time range, if there is one. Raises ValidationFailed."""
    return to_time(request.end_time, field="endTime") if request.HasField("end_time") else None


def after_sequence(request: pb.WatchTransactionsRequest) -> int | None:
    """Return the sequence that a watch resumes from, if it does."""
    return request.after_sequence if request.HasField("after_sequence") else None


def transaction(movement: Movement) -> wallet_pb2.Transaction:
    """Return a movement's message."""
    return wallet_pb2.Transaction(
        id=movement.id,
        type=wallet_pb2.TransactionType.Value(f"TRANSACTION_TYPE_{movement.type}"),
        amount=money(movement.amount),
        balance_after=money(movement.balance_after),
        create_time=timestamp(movement.create_time),
        description=movement.description,
        payment_id=movement.payment_id,
        reference=movement.reference,
        sequence=movement.sequence,
        counterparty_wallet_ids=movement.counterparty_wallet_ids,
    )


def list_transactions_response(page: Page[Movement]) -> pb.ListTransactionsResponse:
    """Return the answer with a page of movements."""
    return pb.ListTransactionsResponse(
        transactions=[transaction(movement) for movement in page.items], next_page_token=page.next_page_token
    )


def watch_transactions_response(news: Movement | Heartbeat) -> pb.WatchTransactionsResponse:
    """Return a message of a watch."""
    if isinstance(news, Heartbeat):
        sent = timestamp(datetime.now(UTC))
        return pb.WatchTransactionsResponse(heartbeat=heartbeat_pb2.Heartbeat(send_time=sent, sequence=news.sequence))
    return pb.WatchTransactionsResponse(transaction=transaction(news))


async def watch_transactions_responses(
    watch: AsyncGenerator[Movement | Heartbeat],
) -> AsyncGenerator[pb.WatchTransactionsResponse]:
    """Yield the messages of a watch."""
    async with aclosing(watch):
        async for news in watch:
            yield watch_transactions_response(news)


async def statement_chunks(
    export: AsyncGenerator[Statement | Sequence[Movement]], kind: wallet_pb2.StatementFormat.ValueType
) -> AsyncGenerator[httpbody_pb2.HttpBody]:
    """Yield the document of a statement in parts."""
    document: Document = _Csv() if kind == wallet_pb2.STATEMENT_FORMAT_CSV else _Json()
    statement = None
    async with aclosing(export):
        async for part in export:
            if isinstance(part, Statement):
                statement, text = part, document.opening(part)
            else:
                text = document.movements(part)
            for chunk in _chunks(text):
                yield httpbody_pb2.HttpBody(content_type=document.content_type, data=chunk)
    if statement is not None:
        for chunk in _chunks(document.closing(statement)):
            yield httpbody_pb2.HttpBody(content_type=document.content_type, data=chunk)


class Document(Protocol):
    """A statement in parts, in one format."""

    content_type: str

    def opening(self, statement: Statement) -> str:
        """Return what precedes the transactions."""

    def movements(self, movements: Sequence[Movement]) -> str:
        """Return the next transactions."""

    def closing(self, statement: Statement) -> str:
        """Return what follows the transactions, and says that the document is complete."""


class _Json:
    """The transactions have the JSON of their messages, written without them: that takes a tenth of the time."""

    content_type = "application/json"

    def __init__(self) -> None:
        self._separator = ""

    def opening(self, statement: Statement) -> str:
        head: dict[str, Any] = {"currency": statement.currency}
        if statement.start_time:
            head["startTime"] = _time(statement.start_time)
        head |= {"endTime": _time(statement.end_time), "openingBalance": _amount(statement.opening)}
        return f'{json.dumps(head)[:-1]}, "transactions": ['

    def movements(self, movements: Sequence[Movement]) -> str:
        text = self._separator + ",\n".join(json.dumps(_fields(movement)) for movement in movements)
        self._separator = ",\n"
        return text

    def closing(self, statement: Statement) -> str:
        return f'], "closingBalance": {json.dumps(_amount(statement.closing))}}}\n'


class _Csv:
    """Debits and credits have columns of their own, so that no number begins with a sign."""

    content_type = "text/csv; charset=utf-8"

    def opening(self, statement: Statement) -> str:
        start = _time(statement.start_time) if statement.start_time else ""
        return _lines(CSV_HEADER, self._balance("OPENING_BALANCE", start, statement.opening))

    def movements(self, movements: Sequence[Movement]) -> str:
        return _lines(*(self._movement(movement) for movement in movements))

    def closing(self, statement: Statement) -> str:
        return _lines(self._balance("CLOSING_BALANCE", _time(statement.end_time), statement.closing))

    @staticmethod
    def _balance(kind: str, time: str, balance: Money) -> tuple[Any, ...]:
        return ("", time, kind, "", "", balance.amount_minor, balance.currency, "", "", "", "", "")

    @staticmethod
    def _movement(movement: Movement) -> tuple[Any, ...]:
        amount = movement.amount.amount_minor
        return (
            movement.sequence,
            _time(movement.create_time),
            movement.type,
            -amount if amount < 0 else "",
            amount if amount > 0 else "",
            movement.balance_after.amount_minor,
            movement.amount.currency,
            movement.id,
            movement.payment_id,
            " ".join(movement.counterparty_wallet_ids),
            _no_formula(movement.reference),
            _no_formula(movement.description),
        )


def _chunks(text: str) -> Iterator[bytes]:
    data = text.encode()
    return (data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES))


def _lines(*rows: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _no_formula(text: str) -> str:
    return FORMULA_START.sub(r"\g<0>'", text)


def _fields(movement: Movement) -> dict[str, Any]:
    return {
        "id": movement.id,
        "type": f"TRANSACTION_TYPE_{movement.type}",
        "amount": _amount(movement.amount),
        "balanceAfter": _amount(movement.balance_after),
        "createTime": _time(movement.create_time),
        "description": movement.description,
        "paymentId": movement.payment_id,
        "reference": movement.reference,
        "sequence": str(movement.sequence),
        "counterpartyWalletIds": movement.counterparty_wallet_ids,
    }


def _amount(amount: Money) -> dict[str, str]:
    return {"minorUnits": str(amount.amount_minor), "currency": amount.currency}


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _short(kind: wallet_pb2.TransactionType.ValueType) -> str:
    return wallet_pb2.TransactionType.Name(kind).removeprefix("TRANSACTION_TYPE_")
