"""The SQL of a wallet's transactions.

The entries of an account are numbered without gaps, and their times never go back. So a stretch of the history is a
range of numbers, which the primary key reads however long the history is; and the number at a time is found by halving.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, BigInteger, Text, bindparam, text

from services.payment.ledger.model import TransactionType
from services.payment.ledger.store import last_sequence
from services.payment.transactions.model import Movement, Position, Scan, Statement
from services.shared.db import Id, Time
from services.shared.keyset import Keyset
from services.shared.money import INT64_MAX, Money

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Row, TextualSelect
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.transactions.model import MovementFilter
    from services.shared.pagination import PageRequest

_TYPES = {str(kind): kind for kind in TransactionType}
SCANNED_ENTRIES = 2000
"""Maximum number of entries that one page of a filtered list looks at: what it costs does not grow with history."""

_ACCOUNT = """
    SELECT accounts.id, accounts.sequence FROM wallets
    JOIN accounts ON accounts.owner_id = wallets.id AND accounts.kind = 'WALLET'
    WHERE wallets.user_id = CAST(:user_id AS uuid) AND accounts.currency = CAST(:currency AS text)
"""
_MOVEMENT = """
    entry.sequence, entry.currency, entry.amount, entry.balance_after, posted.id, posted.type, posted.create_time,
    CASE WHEN posted.source_kind = 'PAYMENT' THEN posted.source_id END AS payment_id, posted.reference,
    (SELECT description FROM memos WHERE transaction_id = posted.id) AS description,
    ARRAY(
        SELECT CAST(account.owner_id AS text)
        FROM entries other JOIN accounts account ON account.id = other.account_id
        WHERE other.transaction_id = posted.id AND account.kind = 'WALLET'
            AND other.currency = entry.currency AND sign(other.amount) <> sign(entry.amount)
    ) AS counterparties
"""
_COLUMNS: dict[str, Any] = {
    "sequence": BigInteger,
    "currency": Text,
    "amount": BigInteger,
    "balance_after": BigInteger,
    "id": Id,
    "type": Text,
    "create_time": Time,
    "payment_id": Id,
    "reference": Text,
    "description": Text,
    "counterparties": ARRAY(Text),
}


_PARAMETERS: dict[str, Any] = {
    "user_id": Text,
    "currency": Text,
    "before": BigInteger,
    "count": BigInteger,
    "type": Text,
    "start_time": Time,
    "end_time": Time,
    "min_amount": BigInteger,
    "max_amount": BigInteger,
    "counterparty": Text,
    "reference": Text,
    "account_id": Text,
    "first": BigInteger,
    "last": BigInteger,
    "user_ids": ARRAY(Text),
    "currencies": ARRAY(Text),
    "positions": ARRAY(BigInteger),
}


def _select(sql: str, **columns: Any) -> TextualSelect:
    parameters = (bindparam(name, type_=kind) for name, kind in _PARAMETERS.items() if f":{name} " in sql)
    return text(sql).bindparams(*parameters).columns(**columns)


_BEFORE_START = last_sequence("CAST(:start_time AS timestamptz)", inclusive=False)
_BEFORE_END = last_sequence("CAST(:end_time AS timestamptz)", inclusive=False)

# As a scalar subquery the planner sees that it is one account, and reads the page from the index, whatever came before.
LIST = _select(
    f"""
    SELECT {_MOVEMENT} FROM entries entry JOIN transactions posted ON posted.id = entry.transaction_id
    WHERE entry.account_id = (SELECT id FROM ({_ACCOUNT}) account) AND entry.sequence < CAST(:before AS bigint)
    ORDER BY entry.sequence DESC LIMIT CAST(:count AS bigint)
    """,  # noqa: S608 - of constants
    **_COLUMNS,
)

# A reference narrows the range to where it is; every other filter looks at a bounded number of entries.
LIST_FILTERED = _select(
    f"""
    WITH account AS MATERIALIZED ({_ACCOUNT}),
    referred AS MATERIALIZED (
        SELECT min(entry.sequence) AS first, max(entry.sequence) AS last
        FROM account, transactions posted
            JOIN entries entry ON entry.transaction_id = posted.id
        WHERE entry.account_id = account.id AND posted.reference = CAST(:reference AS text)
    ),
    span AS MATERIALIZED (
        SELECT account.id,
            CASE WHEN CAST(:reference AS text) <> ''
                    THEN coalesce((SELECT first - 1 FROM referred), account.sequence)
                WHEN CAST(:start_time AS timestamptz) IS NULL THEN 0
                ELSE {_BEFORE_START} END AS low,
            least(
                CAST(:before AS bigint) - 1,
                account.sequence,
                CASE WHEN CAST(:reference AS text) <> '' THEN (SELECT last FROM referred) END,
                CASE WHEN CAST(:end_time AS timestamptz) IS NOT NULL
                    THEN {_BEFORE_END} END
            ) AS high
        FROM account
    )
    SELECT greatest(span.low, span.high - {SCANNED_ENTRIES}) AS scanned, span.low, movement.*
    FROM span LEFT JOIN LATERAL (
        SELECT {_MOVEMENT} FROM entries entry JOIN transactions posted ON posted.id = entry.transaction_id
        WHERE entry.account_id = span.id
            AND entry.sequence > greatest(span.low, span.high - {SCANNED_ENTRIES}) AND entry.sequence <= span.high
            AND entry.amount >= CAST(:min_amount AS bigint) AND entry.amount <= CAST(:max_amount AS bigint)
            AND (CAST(:type AS text) = '' OR posted.type = CAST(:type AS text))
            AND (CAST(:reference AS text) = '' OR posted.reference = CAST(:reference AS text))
            AND (
                CAST(:start_time AS timestamptz) IS NULL OR entry.create_time >= CAST(:start_time AS timestamptz)
            )
            AND (
                CAST(:counterparty AS uuid) IS NULL OR EXISTS (
                    SELECT FROM entries other
                    WHERE other.transaction_id = entry.transaction_id
                        AND other.account_id = (
                            SELECT id FROM accounts
                            WHERE kind = 'WALLET' AND owner_id = CAST(:counterparty AS uuid)
                                AND currency = CAST(:currency AS text)
                        )
                        AND sign(other.amount) <> sign(entry.amount)
                )
            )
        ORDER BY entry.sequence DESC LIMIT CAST(:count AS bigint)
    ) movement ON true
    ORDER BY movement.sequence DESC
    """,  # noqa: S608 - of constants
    scanned=BigInteger,
    low=BigInteger,
    **_COLUMNS,
)

# Of all wallets that a process watches. An account without news costs two look-ups.
LIST_NEW = _select(
    f"""
    SELECT watched.number, movement.*
    FROM unnest(CAST(:user_ids AS uuid[]), CAST(:currencies AS text[]), CAST(:positions AS bigint[]))
        WITH ORDINALITY AS watched (user_id, currency, position, number)
    JOIN wallets ON wallets.user_id = watched.user_id
    JOIN accounts ON accounts.owner_id = wallets.id AND accounts.kind = 'WALLET'
        AND accounts.currency = watched.currency AND accounts.sequence > watched.position
    CROSS JOIN LATERAL (
        SELECT {_MOVEMENT} FROM entries entry JOIN transactions posted ON posted.id = entry.transaction_id
        WHERE entry.account_id = accounts.id AND entry.sequence > watched.position
        ORDER BY entry.sequence LIMIT CAST(:count AS bigint)
    ) movement
    ORDER BY watched.number, movement.sequence
    """,  # noqa: S608 - of constants
    number=BigInteger,
    **_COLUMNS,
)

POSITION = _select(_ACCOUNT, id=Id, sequence=BigInteger)

# A writer locks the account, then reads the clock, and holds the lock until everybody sees what it has posted. So once
# the lock was free, nothing can appear any more that was posted before the time which is returned.
SETTLED = _select(
    f"""
    WITH lock AS MATERIALIZED (
        SELECT id FROM accounts WHERE id = (SELECT id FROM ({_ACCOUNT}) account) FOR SHARE
    )
    SELECT clock_timestamp() AS now FROM (SELECT count(*) FROM lock) AS held
    """,  # noqa: S608 - of constants
    now=Time,
)
BOUNDS = _select(
    f"""
    WITH account AS MATERIALIZED ({_ACCOUNT}),
    span AS MATERIALIZED (
        SELECT account.id,
            CASE WHEN CAST(:start_time AS timestamptz) IS NULL THEN 0
                ELSE {_BEFORE_START} END AS low,
            {_BEFORE_END} AS high
        FROM account
    )
    SELECT span.id, span.low, greatest(span.low, span.high) AS high,
        (SELECT balance_after FROM entries WHERE account_id = span.id AND sequence = span.low) AS opening,
        (
            SELECT balance_after FROM entries
            WHERE account_id = span.id AND sequence = greatest(span.low, span.high)
        ) AS closing
    FROM span
    """,  # noqa: S608 - of constants
    id=Id,
    low=BigInteger,
    high=BigInteger,
    opening=BigInteger,
    closing=BigInteger,
)
STATEMENT_PAGE = _select(
    f"""
    SELECT {_MOVEMENT} FROM entries entry JOIN transactions posted ON posted.id = entry.transaction_id
    WHERE entry.account_id = CAST(:account_id AS uuid)
        AND entry.sequence >= CAST(:first AS bigint) AND entry.sequence <= CAST(:last AS bigint)
    ORDER BY entry.sequence LIMIT CAST(:count AS bigint)
    """,  # noqa: S608 - of constants
    **_COLUMNS,
)

_OWN_ENTRIES = """
    wallets JOIN accounts ON accounts.owner_id = wallets.id AND accounts.kind = 'WALLET'
        JOIN entries entry ON entry.account_id = accounts.id
"""
# As many of each currency as the page holds, so that each is read from the index.
EXPORT = text("""
    SELECT entry.transaction_id AS id, posted.type, CAST(entry.amount AS text) AS amount, entry.currency,
        CAST(entry.balance_after AS text) AS balance_after, posted.reference, memos.description, posted.create_time,
        entry.currency AS key_0, entry.sequence AS key_1
    FROM wallets JOIN accounts ON accounts.owner_id = wallets.id AND accounts.kind = 'WALLET'
        CROSS JOIN LATERAL (
            SELECT * FROM entries WHERE entries.account_id = accounts.id
                AND sequence > CASE accounts.currency WHEN :after_0 THEN CAST(:after_1 AS bigint) ELSE 0 END
            ORDER BY sequence LIMIT :page_limit
        ) AS entry
        JOIN transactions posted ON posted.id = entry.transaction_id
        LEFT JOIN memos ON memos.transaction_id = entry.transaction_id
    WHERE wallets.user_id = CAST(:user_id AS uuid) AND accounts.currency >= CAST(:after_0 AS text)
    ORDER BY entry.currency, entry.sequence LIMIT :page_limit
""").columns(
    id=Id,
    type=Text,
    amount=Text,
    currency=Text,
    balance_after=Text,
    reference=Text,
    description=Text,
    create_time=Time,
    key_0=Text,
    key_1=BigInteger,
)
EXPORTED = Keyset(EXPORT, ("", 0))
# Of both sides: what another person wrote to this one names them, too.
ERASE = text(f"""
    DELETE FROM memos WHERE transaction_id IN (
        SELECT entry.transaction_id FROM {_OWN_ENTRIES} JOIN memos ON memos.transaction_id = entry.transaction_id
        WHERE wallets.user_id = CAST(:user_id AS uuid) LIMIT 20000
    )
""")  # noqa: S608 - of constants


class TransactionStore:
    """The transactions of wallets."""

    async def list_movements(
        self, connection: AsyncConnection, request: PageRequest, user_id: str, currency: str
    ) -> Sequence[Movement]:
        """Return one movement of a currency more than the page holds, newest first."""
        values = {"user_id": user_id, "currency": currency, "count": request.limit, "before": _start(request)}
        return [_movement(row) for row in await connection.execute(LIST, values)]

    async def list_filtered_movements(
        self, connection: AsyncConnection, request: PageRequest, user_id: str, matching: MovementFilter
    ) -> Scan:
        """Return movements that match, newest first, at most as many as the page holds."""
        values = {
            "user_id": user_id,
            "currency": matching.currency,
            "count": request.limit,
            "before": _start(request),
            "type": matching.type or "",
            "start_time": matching.start_time,
            "end_time": matching.end_time,
            "min_amount": -INT64_MAX if matching.min_amount_minor is None else matching.min_amount_minor,
            "max_amount": INT64_MAX if matching.max_amount_minor is None else matching.max_amount_minor,
            "counterparty": matching.counterparty_wallet_id or None,
            "reference": matching.reference,
        }
        rows = (await connection.execute(LIST_FILTERED, values)).all()
        found = tuple(_movement(row) for row in rows if row.sequence is not None)
        if len(found) > request.size:
            found = found[: request.size]
            return Scan(found, found[-1].sequence)
        more = bool(rows) and rows[0].low is not None and rows[0].scanned > rows[0].low
        return Scan(found, rows[0].scanned + 1 if more else None)

    async def list_new_movements(
        self, connection: AsyncConnection, positions: Mapping[tuple[str, str], int], count: int
    ) -> Mapping[tuple[str, str], Sequence[Movement]]:
        """Return the movements after a sequence of each user and currency, oldest first, at most `count` of each."""
        keys = list(positions)
        values = {
            "user_ids": [user_id for user_id, _ in keys],
            "currencies": [currency for _, currency in keys],
            "positions": list(positions.values()),
            "count": count,
        }
        found: dict[tuple[str, str], list[Movement]] = {}
        for row in await connection.execute(LIST_NEW, values):
            found.setdefault(keys[row.number - 1], []).append(_movement(row))
        return found

    async def find_position(self, connection: AsyncConnection, user_id: str, currency: str) -> Position:
        """Return where the history of a user's wallet in a currency ends."""
        row = (await connection.execute(POSITION, {"user_id": user_id, "currency": currency})).one_or_none()
        return Position(row.id, row.sequence) if row else Position()

    async def find_statement(
        self,
        connection: AsyncConnection,
        user_id: str,
        currency: str,
        *,
        start_time: datetime | None,
        end_time: datetime | None,
    ) -> Statement:
        """Return the bounds of a statement that ends now at the latest: the next one begins where it ends."""
        settled = await connection.execute(SETTLED, {"user_id": user_id, "currency": currency})
        now: datetime = settled.scalar_one()
        end_time = min(now, end_time or now)
        values = {"user_id": user_id, "currency": currency, "start_time": start_time, "end_time": end_time}
        row = (await connection.execute(BOUNDS, values)).one_or_none()
        zero = Money(0, currency)
        if row is None:
            return Statement(currency=currency, start_time=start_time, end_time=end_time, opening=zero, closing=zero)
        return Statement(
            currency=currency,
            start_time=start_time,
            end_time=end_time,
            account_id=row.id,
            first_sequence=row.low + 1,
            last_sequence=row.high,
            opening=Money(row.opening or 0, currency),
            closing=Money(row.closing or 0, currency),
        )

    async def list_statement_movements(
        self, connection: AsyncConnection, statement: Statement, first: int, count: int
    ) -> Sequence[Movement]:
        """Return at most `count` movements of a statement from a sequence on, oldest first."""
        values = {
            "account_id": statement.account_id,
            "first": first,
            "last": statement.last_sequence,
            "count": count,
        }
        return [_movement(row) for row in await connection.execute(STATEMENT_PAGE, values)]

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:  # noqa: ARG002 - PersonalData's
        """Return the transactions of a person's wallet, in minor units."""
        return {"transactions": EXPORTED.of(user_id=user_id)}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Erase the descriptions of a person's transactions. Entries and transactions hold IDs, and stay."""
        return (await connection.execute(ERASE, {"user_id": user_id})).rowcount


def _start(request: PageRequest) -> int:
    return int(request.cursor[0]) if request.cursor else INT64_MAX


def _movement(row: Row[*tuple[Any, ...]]) -> Movement:
    # By place, not by name: a statement has a million of them.
    sequence, currency, amount, balance_after, id_, kind, create_time, payment_id, reference, description, others = row[
        -len(_COLUMNS) :
    ]
    return Movement(
        id=id_,
        sequence=sequence,
        type=_TYPES[kind],
        amount=Money(amount, currency),
        balance_after=Money(balance_after, currency),
        create_time=create_time,
        description=description or "",
        payment_id=payment_id or "",
        reference=reference or "",
        counterparty_wallet_ids=tuple(sorted(others)),
    )
