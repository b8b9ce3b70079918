"""The ledger's peer: one PL/pgSQL function that writes the very same rows, run by pgbench with prepared statements.

What services in the field do that put the posting into the database: key, locks in id order, hash chains, balances,
payment and answer in one call, one commit each.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from bench.errors import BenchmarkError
from bench.processes import cpu_seconds
from bench.statistics import MICROSECONDS, Round

if TYPE_CHECKING:
    from bench.system import System

FUNCTION = r"""
CREATE TABLE bench_commits (id bigint GENERATED ALWAYS AS IDENTITY, t text);
GRANT INSERT ON bench_commits TO payment_app;
CREATE TABLE bench_payers (number integer PRIMARY KEY, user_id uuid, wallet_id uuid, account_id uuid);
CREATE TABLE bench_funds (number integer PRIMARY KEY, id uuid);
CREATE FUNCTION bench_text(value text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT int4send(octet_length(value)) || convert_to(value, 'UTF8')
$$;
CREATE FUNCTION bench_entry(head bytea, account uuid, sequence bigint, digest bytea, amount bigint, balance bigint)
RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256('\x0145'::bytea || head || uuid_send(account) || int8send(sequence) || digest || int8send(amount)
        || int8send(balance))
$$;
CREATE FUNCTION bench_pay(payer integer, number integer, minor bigint) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    the_key text := uuidv7()::text;
    paid uuid := uuidv7();
    booked uuid := uuidv7();
    purse accounts;
    fund accounts;
    who bench_payers;
    fund_id uuid;
    moment timestamptz;
    answer bytea;
    digest bytea;
BEGIN
    SELECT * INTO who FROM bench_payers WHERE bench_payers.number = payer;
    SELECT id INTO fund_id FROM bench_funds WHERE bench_funds.number = bench_pay.number;
    SELECT response INTO answer FROM idempotency_records
    WHERE (principal_id, method, key) = ('user:' || who.user_id, 'azora.payment.v1.CreatePaymentRequest', the_key);
    IF FOUND THEN
        RETURN answer;
    END IF;
    IF who.account_id < fund_id THEN
        SELECT * INTO purse FROM accounts WHERE id = who.account_id FOR NO KEY UPDATE;
        SELECT * INTO fund FROM accounts WHERE id = fund_id FOR NO KEY UPDATE;
    ELSE
        SELECT * INTO fund FROM accounts WHERE id = fund_id FOR NO KEY UPDATE;
        SELECT * INTO purse FROM accounts WHERE id = who.account_id FOR NO KEY UPDATE;
    END IF;
    IF purse.state <> 'ACTIVE' OR purse.posted - purse.held < minor THEN
        RAISE EXCEPTION 'insufficient funds';
    END IF;
    moment := greatest(clock_timestamp(), purse.post_time, fund.post_time);
    digest := sha256('\x0154'::bytea || uuid_send(booked) || bench_text('PAYMENT') || bench_text('PAYMENT')
        || uuid_send(paid) || '\xffffffffffffffff'::bytea || decode(repeat('00', 32), 'hex')
        || int8send((extract(epoch FROM moment) * 1000000)::bigint) || int2send(2::smallint)
        || CASE WHEN purse.id < fund.id
            THEN uuid_send(purse.id) || bench_text('AZR') || int8send(-minor)
                || uuid_send(fund.id) || bench_text('AZR') || int8send(minor)
            ELSE uuid_send(fund.id) || bench_text('AZR') || int8send(minor)
                || uuid_send(purse.id) || bench_text('AZR') || int8send(-minor) END);
    purse.head := bench_entry(purse.head, purse.id, purse.sequence + 1, digest, -minor, purse.posted - minor);
    fund.head := bench_entry(fund.head, fund.id, fund.sequence + 1, digest, minor, fund.posted + minor);
    answer := convert_to(repeat(paid::text, 5), 'UTF8');
    WITH a AS (
        UPDATE accounts SET posted = accounts.posted + x.amount, sequence = accounts.sequence + 1, head = x.head,
            post_time = moment, debit = accounts.debit + greatest(-x.amount, 0),
            credit = accounts.credit + greatest(x.amount, 0)
        FROM (VALUES (purse.id, -minor, purse.head), (fund.id, minor, fund.head)) x (id, amount, head)
        WHERE accounts.id = x.id
    ), t AS (
        INSERT INTO transactions (id, type, source_kind, source_id, legs, create_time)
        VALUES (booked, 'PAYMENT', 'PAYMENT', paid, 2, moment)
    ), e AS (
        INSERT INTO entries
            (account_id, sequence, transaction_id, currency, amount, balance_after, create_time, hash)
        VALUES (purse.id, purse.sequence + 1, booked, 'AZR', -minor, purse.posted - minor, moment, purse.head),
            (fund.id, fund.sequence + 1, booked, 'AZR', minor, fund.posted + minor, moment, fund.head)
    ), p AS (
        INSERT INTO payments (id, wallet_id, creator, type, amount, currency, refunded, refunding, description,
            refundable_until, create_time)
        VALUES (paid, who.wallet_id, '', 'SUBSCRIPTION', minor, 'AZR', 0, 0, '', moment + interval '14 days',
            moment)
    )
    INSERT INTO idempotency_records (principal_id, method, key, fingerprint, response)
    VALUES ('user:' || who.user_id, 'azora.payment.v1.CreatePaymentRequest', the_key, sha256(answer), answer);
    RETURN answer;
END $$;
INSERT INTO bench_funds SELECT stripe, id FROM accounts WHERE kind = 'REVENUE' AND currency = 'AZR';
GRANT SELECT ON bench_payers, bench_funds TO payment_app;
"""
FILL = """
INSERT INTO bench_payers
SELECT row_number() OVER (ORDER BY wallets.id), user_id, wallets.id, accounts.id
FROM wallets JOIN accounts ON owner_id = wallets.id WHERE user_id = ANY($1);
"""

RANDOM = r"""
\set payer random(1, {payers})
SELECT bench_pay(:payer, :client_id % 64, 1);
"""
HOT = r"""
SELECT bench_pay(1, :client_id % 64, 1);
"""
COMMIT = r"""
INSERT INTO bench_commits DEFAULT VALUES;
"""
"""One bare commit: what the disk takes."""
THREADS = 2
MIN_SECONDS = 2
"""pgbench takes whole seconds, and connects within them."""
LATENCY = 2
"""Place of the latency, in microseconds, in a line of pgbench's log."""


@dataclass(frozen=True, slots=True)
class Pgbench:
    """Runs scripts as Payment's role on the system's PostgreSQL."""

    system: System

    async def run(self, script: str, callers: int, seconds: float) -> Round:
        """Run a script; the CPU time is PostgreSQL's."""
        url = urlsplit(self.system.database_url("payment"))
        place = parse_qs(url.query)
        duration = str(max(MIN_SECONDS, round(seconds)))
        with tempfile.TemporaryDirectory(prefix="azb") as name:
            path = Path(name) / "script.sql"
            path.write_text(script)
            command = (
                *(str(Path(self.system.postgres().exe()).with_name("pgbench")), "-n", "-M", "prepared"),
                *("-f", str(path), "-T", duration, "-l", f"--log-prefix={name}/log"),
                *("-c", str(callers), "-j", str(min(THREADS, callers))),
                *("-h", place["host"][0], "-p", place["port"][0], "-U", "payment_app", "payment"),
            )
            before = cpu_seconds((self.system.postgres(),))
            process = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
            cpu = cpu_seconds((self.system.postgres(),)) - before
            found = re.search(r"tps = ([\d.]+)", process.stdout)
            if process.returncode or not found:
                raise BenchmarkError(process.stdout + process.stderr)
            latencies = _latencies(Path(name))
        return Round(len(latencies), len(latencies) / float(found[1]), cpu, latencies)


def _latencies(folder: Path) -> list[float]:
    lines = (line for log in folder.glob("log*") for line in log.read_text().splitlines())
    return [int(line.split()[LATENCY]) / MICROSECONDS for line in lines]
