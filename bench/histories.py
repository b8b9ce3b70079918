"""What a long history costs: one wallet with ten entries beside one with very many, read and paid from by turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import payment_pb2, wallet_service_pb2
from azora.payment.v1 import payment_service_pb2 as pb

from bench import ledger
from bench.client import PAY, Request
from bench.compare import Result
from bench.statistics import throughput_ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.compare import Rounds
    from bench.ledger import Ledger

SHORT = 10
CALLERS = 16
SHORT_NAME, LONG_NAME = "a short history", "a long history"
AT_LEAST, GOAL = 1 / 1.5, 1 / 1.2
WALLETS = "/azora.payment.v1.WalletService"
FILL = """
INSERT INTO transactions (id, type, reference_owner, reference, legs)
SELECT uuidv7(), 'EARN', 'bench', $1 || ':' || n, 2
FROM accounts, wallets, generate_series(accounts.sequence + 1, $2) AS n
WHERE accounts.owner_id = wallets.id AND wallets.user_id = $1::uuid
"""
ENTRIES = """
INSERT INTO entries (account_id, sequence, transaction_id, currency, amount, balance_after, create_time, hash)
SELECT accounts.id, n, posted.id, 'AZR', 1, accounts.posted + n - accounts.sequence,
    accounts.post_time + n * interval '1 microsecond', accounts.head
FROM accounts, wallets, transactions posted, split_part(posted.reference, ':', 2) AS part, CAST(part AS bigint) AS n
WHERE accounts.owner_id = wallets.id AND wallets.user_id = $1::uuid
    AND posted.reference_owner = 'bench' AND posted.reference LIKE $1 || ':%'
"""
HEAD = """
UPDATE accounts SET posted = last.balance_after, credit = credit + last.balance_after - posted,
    sequence = last.sequence, post_time = last.create_time
FROM wallets, entries last
WHERE accounts.owner_id = wallets.id AND wallets.user_id = $1::uuid AND last.account_id = accounts.id
    AND last.sequence = $2
"""
"""As a superuser without triggers: the chain is that of nothing, and nobody verifies it here."""


async def results(
    bench: Ledger, measured: dict[str, Rounds], *, rounds: int, seconds: float, entries: int
) -> list[Result]:
    """Measure a wallet read, the first page of the history, and a payment."""
    short, long = list(bench.tokens)[-ledger.HISTORIES :]
    async with bench.system.connection("payment") as connection:
        await connection.execute("SET session_replication_role = replica")
        for user, count in ((short, SHORT), (long, entries)):
            for statement in (FILL, ENTRIES, HEAD):
                arguments = (user,) if statement is ENTRIES else (user, count)
                await connection.execute(statement, *arguments, timeout=600)
        await connection.execute("VACUUM ANALYZE transactions, entries, accounts")
    found = []
    for name, path, body in calls():
        runs = {
            each: ledger.sending([_request(bench, user, path, body)], bench.system.behind_socket("payment"))
            for each, user in ((SHORT_NAME, short), (LONG_NAME, long))
        }
        what = f"{name}, gRPC"
        measured[what] = await ledger.by_turns(runs, rounds=rounds, callers=CALLERS, seconds=seconds)
        ratio = throughput_ratio(measured[what][LONG_NAME], measured[what][SHORT_NAME])
        found.append(Result(f"{name}: {entries:,} entries over {SHORT}", ratio, "x", AT_LEAST, GOAL))
    return found


def calls() -> Sequence[tuple[str, str, bytes]]:
    """Return what is called: its name, path and message."""
    pay = pb.CreatePaymentRequest(type=payment_pb2.PAYMENT_TYPE_SUBSCRIPTION)
    pay.amount.minor_units, pay.amount.currency = 1, "AZR"
    page = wallet_service_pb2.ListTransactionsRequest(page_size=SHORT)
    return (
        ("wallet read", f"{WALLETS}/GetWallet", b""),
        ("first page of the history", f"{WALLETS}/ListTransactions", page.SerializeToString()),
        ("payment", PAY, pay.SerializeToString()),
    )


def _request(bench: Ledger, user: str, path: str, body: bytes) -> Request:
    headers: Mapping[str, str] = {"authorization": f"Bearer {bench.tokens[user]}"}
    return Request(bench.system.socket("payment"), path, headers, body, grpc=True)
