"""Measures postings at the ledger, without gRPC, beside one PL/pgSQL function that writes the very same tables.

    python -m bench.ledger [--seconds S] [--rounds N]

Both write to one PostgreSQL with synchronous_commit on, in turns. A payment is decided, chained, keyed and answered in
either; times differ from machine to machine, the ratios within one run are what to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import re
import statistics
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import psutil
import uvloop
from azora.payment.v1 import payment_service_pb2 as pb

from bench.ledger_peer import COMMIT, FILL, FUNCTION, HOT, RANDOM
from services.local import postgres
from services.payment.app import EVENTS, KINDS
from services.payment.holds.model import Order, PaymentType
from services.payment.ledger.model import STRIPES, AccountKey, AccountKind
from services.payment.ledger.writer import Writer
from services.payment.payments import convert
from services.payment.payments.commands import CreatePayment, Earn
from services.payment.payments.model import Earning
from services.shared.db import Database
from services.shared.idempotency import Idempotent
from services.shared.ids import new_id
from services.shared.migrations import upgrade
from services.shared.money import Money
from services.shared.outbox import Outbox
from tests.support.statistics import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.local.postgres import Cluster

WALLETS, FUNDS_MINOR = 2000, 1_000_000_000
FUNDED_AT_ONCE = 100
WINDOW = timedelta(days=14)
METHOD = "azora.payment.v1.CreatePaymentRequest"
DEFAULT_RIGHTS = (
    "ALTER DEFAULT PRIVILEGES FOR ROLE payment_owner GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO payment_app"
)


@dataclass(frozen=True, slots=True)
class Load:
    """Throughput and latency of one subject in one round."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """CPU time of a posting, of all that takes part: the caller too, which in either case makes the load."""


@dataclass(frozen=True, slots=True)
class Row:
    """A comparison: its name, callers, and whether all pay from one wallet."""

    name: str
    callers: int
    hot: bool = False


ROWS = (Row("random wallets", 64), Row("random wallets", 16), Row("one wallet", 64, hot=True), Row("random wallets", 1))


class Bench:
    """The ledger and its peer on one database."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._database = Database(cluster.url("payment", "payment_app"))
        outbox = Outbox("payment", EVENTS)
        self._writer = Writer(self._database, KINDS, outbox)
        self._users: list[str] = []
        self._postmaster = psutil.Process(int((cluster.data / "postmaster.pid").read_text().split()[0]))

    async def prepare(self) -> None:
        """Migrate, open the wallets, and install the peer's function."""
        await upgrade("payment", self._cluster.url("payment", "payment_owner"))
        self._users = [new_id() for _ in range(WALLETS)]
        for start in range(0, WALLETS, FUNDED_AT_ONCE):
            users = self._users[start : start + FUNDED_AT_ONCE]
            earnings = (Earn(Earning(user, Money(FUNDS_MINOR), user, ""), "bench") for user in users)
            await asyncio.gather(*map(self._writer.run, earnings))
        owner = await asyncpg.connect(self._cluster.url("payment", "payment_owner", "postgresql"))
        await owner.executemany(
            "INSERT INTO accounts (id, kind, owner_id, currency, stripe) VALUES ($1, 'REVENUE', $2, 'AZR', $3)"
            " ON CONFLICT DO NOTHING",
            [
                (key.id, key.owner_id, key.stripe)
                for key in (AccountKey.system(AccountKind.REVENUE, stripe, "AZR") for stripe in range(STRIPES))
            ],
        )
        await owner.execute(FUNCTION)
        await owner.execute(FILL)
        await owner.execute("CREATE TABLE bench_commits (id bigint GENERATED ALWAYS AS IDENTITY, t text)")
        await owner.close()

    async def ledger(self, row: Row, seconds: float) -> Load:
        """Pay through the writer."""
        latencies: list[float] = []
        cpu = self._cpu_seconds()
        began = time.perf_counter()

        async def caller() -> None:
            while time.perf_counter() - began < seconds:
                user = self._users[0] if row.hot else random.choice(self._users)  # noqa: S311 - a load
                sent = time.perf_counter()
                await self._writer.answer(_payment(user), _keyed(user))
                latencies.append(time.perf_counter() - sent)

        await asyncio.gather(*(caller() for _ in range(row.callers)))
        elapsed = time.perf_counter() - began
        return _load(latencies, elapsed, self._cpu_seconds() - cpu)

    async def peer(self, script: str, callers: int, seconds: float) -> Load:
        """Run a script by pgbench."""
        path, log = self._folder / "script.sql", self._folder / "pgbench"
        path.write_text(script)
        command = [
            *(
                str(self._cluster.binaries / "bin" / "pgbench"),
                "-n",
                "-M",
                "prepared",
                "-f",
                str(path),
                "-T",
                str(int(seconds)),
            ),
            *("-c", str(callers), "-j", "2" if callers > 1 else "1", "-l", f"--log-prefix={log}"),
            *("-h", str(self._cluster.sockets), "-p", str(postgres.PORT), "-U", "payment_app", "payment"),
        ]
        cpu = self._cpu_seconds()
        process = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        output = process.stdout + process.stderr
        found = re.search(r"tps = ([\d.]+)", output)
        if process.returncode or not found:
            raise SystemExit(output)
        cpu = self._cpu_seconds() - cpu
        files = list(self._folder.glob("pgbench*"))
        latencies = [int(line.split()[2]) / 1e6 for file in files for line in file.read_text().splitlines()]
        for file in files:
            file.unlink()
        return _load(latencies, len(latencies) / float(found[1]), cpu)

    def _cpu_seconds(self) -> float:
        """Return the CPU time so far of this process, of programs it ran, and of PostgreSQL with ended sessions."""
        ours, theirs = psutil.Process().cpu_times(), self._postmaster.cpu_times()
        used = sum(ours[:4]) + sum(theirs[:4])
        for session in self._postmaster.children():
            with suppress(psutil.NoSuchProcess):
                used += sum(session.cpu_times()[:2])
        return used

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()


def _load(latencies: list[float], elapsed: float, cpu_seconds: float) -> Load:
    count = len(latencies)
    p50, p99 = (percentile(latencies, percent) * 1e3 for percent in (50, 99))
    return Load(count / elapsed, p50, p99, cpu_seconds / count * 1e6)


def _payment(user: str) -> CreatePayment:
    return CreatePayment(user, "", Order(PaymentType.SUBSCRIPTION, Money(1)), WINDOW)


def _keyed(user: str) -> Idempotent[Any, pb.CreatePaymentResponse]:
    key = new_id()
    return Idempotent(
        principal_id=f"user:{user}",
        method=METHOD,
        key=key,
        fingerprint=hashlib.sha256(key.encode()).digest(),
        encode=convert.create_payment_response,
        decode=pb.CreatePaymentResponse.FromString,
    )


async def measure(bench: Bench, row: Row, *, rounds: int, seconds: float) -> None:
    """Measure a row in turns, and print it."""
    script = HOT if row.hot else RANDOM.format(payers=WALLETS)
    await bench.ledger(row, 0.5)
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(await bench.ledger(row, seconds))
        theirs.append(await bench.peer(script, row.callers, seconds))
    turns = list(zip(ours, theirs, strict=True))
    ratio = statistics.median(our.per_second / their.per_second for our, their in turns)
    cpu = statistics.median(their.cpu_us / our.cpu_us for our, their in turns)
    name = f"{row.name}, {row.callers} caller{'s' * (row.callers > 1)}"
    print(f"{name:<28} ledger {_said(ours)}   PL/pgSQL {_said(theirs)}   {ratio:.2f}x, by CPU {cpu:.2f}x")
    if row.callers == 1:
        commits = [await bench.peer(COMMIT, 1, seconds) for _ in range(rounds)]
        print(f"{'one bare commit':<28}        {_said(commits)}")


def _said(loads: Sequence[Load]) -> str:
    names = ("per_second", "p50_ms", "p99_ms", "cpu_us")
    per_second, p50, p99, cpu = (statistics.median(getattr(load, name) for load in loads) for name in names)
    return f"{per_second:6.0f}/s p50 {p50:5.1f} ms p99 {p99:5.1f} ms {cpu:5.0f} us"


def passable(name: str) -> Path:
    """Let the user that root's PostgreSQL runs as pass through a folder."""
    folder = Path(name)
    folder.chmod(0o711)
    return folder


async def run(options: argparse.Namespace) -> None:
    """Measure on a PostgreSQL of our own."""
    with tempfile.TemporaryDirectory(prefix="azl") as name:
        folder = passable(name)
        async with postgres.running(folder, ("payment",), durable=True) as cluster:
            async with cluster.connection("payment") as connection:
                await connection.execute(DEFAULT_RIGHTS)
            # In a thread: uvloop, which the services run on, cannot start a process as another user.
            await asyncio.to_thread(uvloop.run, measure_all(Bench(cluster, folder), options))


async def measure_all(bench: Bench, options: argparse.Namespace) -> None:
    """Measure all rows."""
    try:
        await bench.prepare()
        for row in ROWS:
            if options.only in f"{row.name} {row.callers}":
                await measure(bench, row, rounds=options.rounds, seconds=options.seconds)
    finally:
        await bench.close()


def main() -> None:
    """Run the measurements."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.ledger", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each comparison")
    parser.add_argument("--seconds", type=float, default=4, help="length of a round")
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows whose name contains this")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
