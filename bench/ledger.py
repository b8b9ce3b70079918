"""Measures the ledger beside what writes the very same tables: python -m bench.ledger [--seconds S] [--rounds N].

All run on the system's own PostgreSQL, as `azora up` starts it, with synchronous_commit on: one PL/pgSQL function under
pgbench, FastAPI with SQLAlchemy's ORM, the ledger in this process, Payment over gRPC at its socket, and over JSON
through Envoy. Each payment is keyed, decided, chained and answered. `make bench FULL=1` prints the same rows.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
import psutil
import uvloop
from azora.payment.v1 import payment_pb2
from azora.payment.v1 import payment_service_pb2 as pb

from bench import histories, many, peers
from bench.client import HEALTH, PAY, Request
from bench.compare import Result, Rounds
from bench.ledger_peer import COMMIT, FILL, FUNCTION, HOT, RANDOM, Pgbench
from bench.processes import cpu_seconds
from bench.report import print_report
from bench.statistics import Round, cpu_ratio, median_of, throughput_ratio
from bench.system import access_tokens, running_system
from services.payment.app import EVENTS, KINDS
from services.payment.holds.model import Order, PaymentType
from services.payment.ledger.model import STRIPES, AccountKey, AccountKind
from services.payment.ledger.writer import Writer
from services.payment.payments import convert
from services.payment.payments.commands import CreatePayment, Earn
from services.payment.payments.model import Earning
from services.shared.db import Database
from services.shared.errors import DependencyUnavailable
from services.shared.idempotency import Idempotent
from services.shared.ids import new_id
from services.shared.money import Money
from services.shared.outbox import Outbox

if TYPE_CHECKING:
    import asyncpg

    from bench.peers import Peer
    from bench.system import System

WALLETS, FUNDS_MINOR, FUNDED_AT_ONCE = 2000, 1_000_000_000, 50
HISTORIES = 2
"""Wallets beside those, whose histories are made up."""
WINDOW = timedelta(days=14)
METHOD = "azora.payment.v1.CreatePaymentRequest"
FIRST_SECONDS = 60.0
"""Maximum time in which all pay once."""
WARM_UP_SECONDS = 1.0
CALLERS = 64
FUNCTION_NAME, LEDGER, GRPC, JSON, ORM = "PL/pgSQL", "ledger", "azora, gRPC", "azora, JSON", "FastAPI + ORM"
BARE, NOTHING = "one bare commit", "a call that does nothing"
GROUPS = 50
"""Groups whose round trips are counted."""

Run: TypeAlias = Callable[[int, float], Awaitable[Round]]
"""Measures one subject: so many callers, for so many seconds."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The system's ledger, all that is compared with it, and who pays."""

    system: System
    pgbench: Pgbench
    url: str
    """Of Payment's database, in its own role."""
    orm: Peer
    tokens: Mapping[str, str]
    """Access tokens of the payers."""

    @classmethod
    async def set(cls, stack: AsyncExitStack, folder: Path, system: System) -> Ledger:
        """Open and fund wallets, and start the peers, which end with the stack."""
        users = [new_id() for _ in range(WALLETS + HISTORIES)]
        url = _as(system.database_url("payment"), "payment_app")
        database = Database(url)
        writer = Writer(database, KINDS, Outbox("payment", EVENTS))
        for start in range(0, len(users), FUNDED_AT_ONCE):
            await asyncio.gather(*(_fund(writer, user) for user in users[start : start + FUNDED_AT_ONCE]))
        await database.close()
        async with system.connection("payment") as connection:
            await _install(connection, users[:WALLETS])
        orm = await stack.enter_async_context(peers.fastapi_payments(folder, system, url))
        return cls(system, Pgbench(system), url, orm, await access_tokens(system, users))

    async def pay(self, users: Sequence[str], callers: int, seconds: float) -> Round:
        """Pay through a ledger in this process, on the event loop that services run on."""
        return await asyncio.to_thread(uvloop.run, self._pay(users, callers, seconds))

    async def _pay(self, users: Sequence[str], callers: int, seconds: float) -> Round:
        database = Database(self.url)
        writer = Writer(database, KINDS, Outbox("payment", EVENTS))
        processes = (psutil.Process(), self.system.postgres())
        try:
            await pay(writer, users, callers, WARM_UP_SECONDS / 2)
            before, begun = _cpu(processes), time.perf_counter()
            latencies = await pay(writer, users, callers, seconds)
            return Round(len(latencies), time.perf_counter() - begun, _cpu(processes) - before, latencies)
        finally:
            await database.close()

    def over_grpc(self, users: Sequence[str], *, once: bool = False) -> Run:
        """Return what pays over gRPC at the service's socket."""
        message = pb.CreatePaymentRequest(type=payment_pb2.PAYMENT_TYPE_SUBSCRIPTION)
        message.amount.minor_units, message.amount.currency = 1, "AZR"
        target, body = self.system.socket("payment"), message.SerializeToString()
        requests = [Request(target, PAY, self._bearer(user), body, grpc=True) for user in users]
        return sending(requests, self.system.behind_socket("payment"), once=once)

    def over_nothing(self) -> Run:
        """Return what asks the service for its health at its socket."""
        request = Request(self.system.socket("payment"), HEALTH, body=b"", grpc=True)
        return sending([request], self.system.behind_socket("payment"))

    def over_json(self, users: Sequence[str], *, once: bool = False) -> Run:
        """Return what pays over JSON through Envoy."""
        body = orjson.dumps({"type": "PAYMENT_TYPE_SUBSCRIPTION", "amount": {"minorUnits": "1", "currency": "AZR"}})
        requests = [Request(self.system.edge, "/v1/payments", self._bearer(user), body) for user in users]
        return sending(requests, self.system.behind_edge("payment"), once=once)

    def over_orm(self, users: Sequence[str]) -> Run:
        """Return what pays at the peer on FastAPI."""
        body = orjson.dumps({"type": "PAYMENT_TYPE_SUBSCRIPTION", "amount": {"minorUnits": 1, "currency": "AZR"}})
        requests = [Request(self.orm.target, "/payments", self.orm.bearer_of(user), body) for user in users]
        return sending(requests, self.orm.processes)

    async def results(self, measured: dict[str, Rounds], *, rounds: int, seconds: float, entries: int) -> list[Result]:
        """Measure all rows."""
        users = list(self.tokens)[:WALLETS]
        one = users[:1]
        # Whoever pays has paid before: their tokens are verified.
        for pay_once in (self.over_grpc(users, once=True), self.over_json(users, once=True)):
            await pay_once(CALLERS, FIRST_SECONDS)
        rows: dict[str, tuple[int, dict[str, Run]]] = {
            "payment, random wallets": (
                CALLERS,
                {
                    FUNCTION_NAME: self._script(RANDOM.format(payers=WALLETS)),
                    LEDGER: self._ledger(users),
                    GRPC: self.over_grpc(users),
                    JSON: self.over_json(users),
                    ORM: self.over_orm(users),
                },
            ),
            "payment, one wallet": (
                CALLERS,
                {FUNCTION_NAME: self._script(HOT), LEDGER: self._ledger(one), GRPC: self.over_grpc(one)},
            ),
            "payment, 1 caller": (
                1,
                {
                    BARE: self._script(COMMIT),
                    NOTHING: self.over_nothing(),
                    FUNCTION_NAME: self._script(RANDOM.format(payers=WALLETS)),
                    LEDGER: self._ledger(users),
                    GRPC: self.over_grpc(users),
                },
            ),
        }
        for name, (callers, runs) in rows.items():
            measured[name] = await by_turns(runs, rounds=rounds, callers=callers, seconds=seconds)
        spread, hot, alone = (measured[name] for name in rows)
        return [
            ratio("payments at the ledger: over PL/pgSQL", spread[LEDGER], spread[FUNCTION_NAME], 1.0, 1.5),
            ratio("payments through gRPC: over PL/pgSQL", spread[GRPC], spread[FUNCTION_NAME], 0.5, 0.8),
            ratio("payments through Envoy, JSON: over FastAPI + ORM", spread[JSON], spread[ORM], 4, 6),
            ratio("payments of one wallet through gRPC: over PL/pgSQL", hot[GRPC], hot[FUNCTION_NAME], 2, 3),
            Result("one caller through gRPC, p50 above two bare commits", _above_commits(alone, GRPC), "ms", 1.5, 1),
            Result("one caller at the ledger, p50 above two bare commits", _above_commits(alone, LEDGER), "ms"),
            Result(f"one caller, p50 of {NOTHING}", _p50(alone, NOTHING), "ms"),
            Result("round trips of a group, look-up included", await self.round_trips(), "trips", 7, 6),
            *await histories.results(self, measured, rounds=rounds, seconds=seconds, entries=entries),
        ]

    async def round_trips(self) -> float:
        """Return the round trips of a payment whose wallet is looked up, from a writer that is warm."""
        counted = Counted(self.url)
        writer = Writer(counted, KINDS, Outbox("payment", EVENTS))
        try:
            first, *others = list(self.tokens)[: GROUPS + 1]
            await pay(writer, [first], 1, WARM_UP_SECONDS / 2)
            counted.statements = 0
            for user in others:
                await writer.answer(payment_command(user), keyed(user))
        finally:
            await counted.close()
        return counted.statements / GROUPS

    def _bearer(self, user: str) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self.tokens[user]}"}

    def _script(self, script: str) -> Run:
        return lambda callers, seconds: self.pgbench.run(script, callers, seconds)

    def _ledger(self, users: Sequence[str]) -> Run:
        return lambda callers, seconds: self.pay(users, callers, seconds)


class Counted(Database):
    """A database that counts the statements of its writers' connections: each is one round trip."""

    statements = 0

    async def connect(self, *, timeout_seconds: float, **server_settings: str) -> asyncpg.Connection[asyncpg.Record]:
        """Open a connection."""
        connection = await super().connect(timeout_seconds=timeout_seconds, **server_settings)
        connection.add_query_logger(self._count)
        return connection

    def _count(self, ran: Any) -> None:
        self.statements += not ran.query.startswith("DISCARD")


async def pay(writer: Writer, users: Sequence[str], callers: int, seconds: float) -> list[float]:
    """Let callers pay, each again and again; return how long each payment took."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def caller() -> None:
        while (sent := time.perf_counter()) < end:
            user = random.choice(users)  # noqa: S311 - a load
            call = keyed(user)
            await _until_known(lambda: writer.answer(payment_command(user), call))  # noqa: B023 - awaited here
            latencies.append(time.perf_counter() - sent)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return latencies


async def _fund(writer: Writer, user: str) -> None:
    earning = Earning(user, Money(FUNDS_MINOR), user, "")
    await _until_known(lambda: writer.run(Earn(earning, "bench")))


async def _until_known(run: Callable[[], Awaitable[object]]) -> None:
    """Run a command again as callers do whom the writer could not tell what happened."""
    while True:
        with suppress(DependencyUnavailable):
            await run()
            return


def sending(requests: Sequence[Request], processes: Sequence[psutil.Process], *, once: bool = False) -> Run:
    """Return what sends requests at random, or each one `once`, and measures the processes that answer."""

    async def run(callers: int, seconds: float) -> Round:
        before = cpu_seconds(processes)
        seen = await many.load(requests, callers, seconds, once=once)
        return Round(seen.calls, seen.elapsed_seconds, cpu_seconds(processes) - before, seen.latencies_seconds)

    return run


async def by_turns(runs: Mapping[str, Run], *, rounds: int, callers: int, seconds: float) -> Rounds:
    """Measure subjects one after another, and all of them again and again."""
    measured: dict[str, list[Round]] = {name: [] for name in runs}
    for run in runs.values():
        await run(callers, WARM_UP_SECONDS)
    for _ in range(rounds):
        for name, run in runs.items():
            measured[name].append(await run(callers, seconds))
    return measured


def payment_command(user: str) -> CreatePayment:
    """Return the payment that all make."""
    return CreatePayment(user, "", Order(PaymentType.SUBSCRIPTION, Money(1)), WINDOW)


def keyed(user: str) -> Idempotent[Any, pb.CreatePaymentResponse]:
    """Return a keyed call."""
    key = new_id()
    return Idempotent(
        principal_id=f"user:{user}",
        method=METHOD,
        key=key,
        fingerprint=hashlib.sha256(key.encode()).digest(),
        encode=convert.create_payment_response,
        decode=pb.CreatePaymentResponse.FromString,
    )


def _as(url: str, role: str) -> str:
    return url.replace("postgres@/", f"{role}@/")


async def _install(connection: asyncpg.Connection, users: Sequence[str]) -> None:
    """Install the peer's function and open the accounts that it credits."""
    funds = [AccountKey.system(AccountKind.REVENUE, stripe, "AZR") for stripe in range(STRIPES)]
    await connection.executemany(
        "INSERT INTO accounts (id, kind, owner_id, currency, stripe) VALUES ($1, 'REVENUE', $2, 'AZR', $3)"
        " ON CONFLICT DO NOTHING",
        [(fund.id, fund.owner_id, fund.stripe) for fund in funds],
    )
    await connection.execute(FUNCTION)
    await connection.execute(FILL, list(users))
    await connection.execute("ANALYZE")


def _cpu(processes: Sequence[psutil.Process]) -> float:
    """Return the CPU time of this process without its children, and of others with theirs."""
    own = psutil.Process().cpu_times()
    return own.user + own.system + cpu_seconds(process for process in processes if process.pid != psutil.Process().pid)


def ratio(what: str, ours: Sequence[Round], theirs: Sequence[Round], at_least: float, goal: float) -> Result:
    """Return our throughput over theirs, beside what it is to reach."""
    return Result(what, throughput_ratio(ours, theirs), "x", at_least, goal, cpu_ratio(ours, theirs))


def _above_commits(rounds: Rounds, name: str) -> float:
    return _p50(rounds, name) - 2 * _p50(rounds, BARE)


def _p50(rounds: Rounds, name: str) -> float:
    return median_of(rounds[name], lambda one: one.percentile_ms(50))


def passable(name: str) -> Path:
    """Let the user that root's PostgreSQL runs as pass through a folder."""
    folder = Path(name)
    folder.chmod(0o711)
    return folder


async def _run(options: argparse.Namespace) -> None:
    measured: dict[str, Rounds] = {}
    with tempfile.TemporaryDirectory(prefix="azl") as name:
        folder = passable(name)
        async with running_system(folder / "home") as system, AsyncExitStack() as stack:
            ledger = await Ledger.set(stack, folder, system)
            results = await ledger.results(
                measured, rounds=options.rounds, seconds=options.seconds, entries=options.entries
            )
    print_report(results, measured, f"{options.rounds} rounds of {options.seconds:g} s, {options.entries:,} entries")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m bench.ledger", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each comparison")
    parser.add_argument("--seconds", type=float, default=3, help="length of a round")
    parser.add_argument("--entries", type=int, default=1_000_000, help="entries of the long history")
    asyncio.run(_run(parser.parse_args()))
