"""What older versions wrote, under the newest schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import asyncpg
from azora.client import bearer
from azora.payment.v1 import payment_pb2, wallet_pb2, wallet_service_pb2

from services.payment.ledger.model import AccountKey, AccountKind
from services.shared.ids import new_id
from services.shared.migrations import upgrade
from tests.support.api_ledger import ApiLedger, Callers
from tests.support.chains import broken_chains
from tests.support.payment import Person, azr, running_payment
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.postgres import Databases

ROWS = """
INSERT INTO wallets (id, user_id) VALUES ('{wallet}', '{user}');
INSERT INTO accounts (id, kind, owner_id, currency, posted, sequence) VALUES
    ('{purse}', 'WALLET', '{wallet}', 'AZR', 500, 3),
    ('{treasury}', 'TREASURY', '{stripe}', 'AZR', -1000, 1),
    ('{revenue}', 'REVENUE', '{stripe}', 'AZR', 500, 2);
INSERT INTO payments (id, wallet_id, type, amount, currency, refunded, description, course_id, refundable_until)
    VALUES ('{payment}', '{wallet}', 'ENROLLMENT', 600, 'AZR', 100, 'Bread', '{course}', now() + interval '1 day');
INSERT INTO holds (id, wallet_id, account_id, state, type, amount, currency, captured, description, course_id,
    payment_id, expire_time)
    VALUES ('{hold}', '{wallet}', '{purse}', 'CAPTURED', 'ENROLLMENT', 600, 'AZR', 600, 'Bread', '{course}',
    '{payment}', now());
INSERT INTO transactions (id, type, payment_id, reference, create_time) VALUES
    ('{earned}', 'EARN', NULL, 'r', now() - interval '2 hours'),
    ('{paid}', 'PAYMENT', '{payment}', NULL, now() - interval '1 hour'),
    ('{refund}', 'REFUND', '{payment}', NULL, now() - interval '90 minutes');
INSERT INTO memos VALUES ('{refund}', 'Too dry');
INSERT INTO entries (account_id, sequence, transaction_id, currency, amount, balance_after) VALUES
    ('{treasury}', 1, '{earned}', 'AZR', -1000, -1000), ('{purse}', 1, '{earned}', 'AZR', 1000, 1000),
    ('{purse}', 2, '{paid}', 'AZR', -600, 400), ('{revenue}', 1, '{paid}', 'AZR', 600, 600),
    ('{revenue}', 2, '{refund}', 'AZR', -100, 500), ('{purse}', 3, '{refund}', 'AZR', 100, 500);
"""
JOBS = """
INSERT INTO pgqueuer (priority, created, updated, execute_after, entrypoint, payload, status, headers) VALUES
    (0, now(), now(), now(), 'deliver_event', '{whole}', 'queued', '{{}}'),
    (0, now(), now(), now() + interval '1 minute', 'deliver_event', '{part}', 'queued', '{{}}');
"""


async def test_payments_holds_and_refunds_of_older_versions_go_on(databases: Databases) -> None:
    ids = {name: new_id() for name in ["wallet", "user", "payment", "course", "hold", "earned", "paid", "refund"]}
    stripes = {
        name: AccountKey.system(kind, 7, "AZR")
        for name, kind in (("treasury", AccountKind.TREASURY), ("revenue", AccountKind.REVENUE))
    }
    accounts = {name: key.id for name, key in stripes.items()}
    purse = AccountKey.wallet(ids["wallet"], "AZR").id
    rows = ROWS.format(**ids, **accounts, purse=purse, stripe=stripes["revenue"].owner_id)
    async with databases.old("payment", "0002") as clone:
        owner = await asyncpg.connect(clone.owner_url.replace("+asyncpg", ""))
        await owner.execute(rows)
        await owner.close()
        await upgrade("payment", clone.owner_url)
        async with running_payment(clone.app_url, clone.owner_url) as payment:
            person = Person(ids["user"], bearer(payment.signer.token(ids["user"])), payment)
            before = await person.read(ids["payment"])
            assert (before.refunded_amount, before.pending_refund_amount) == (azr(100), azr(0))
            refund = await person.read_refund(ids["refund"])
            assert (refund.state, refund.amount) == (payment_pb2.REFUND_STATE_COMPLETED, azr(100))
            assert (refund.reason, refund.payment_id) == ("Too dry", ids["payment"])
            (last,) = await payment.sql(
                "SELECT a.post_time = t.create_time AS kept FROM accounts a, transactions t"
                " WHERE a.kind = 'WALLET' AND t.type = 'PAYMENT'"
            )
            assert last["kept"], "the latest of its entries, which is not the last"
            assert (await person.refund(ids["payment"])).amount == azr(500)
            assert payment.education.asked, "it bought a course"
            assert await person.balance() == (1000, 0, 1000)
            assert (await payment.trial_balance()).balanced
            assert await ApiLedger(payment.channel, Callers.of(payment.signer)).verify() == []


EARNED = """
INSERT INTO wallets (id, user_id) VALUES ('{wallet}', '{user}');
INSERT INTO accounts (id, kind, owner_id, currency, posted, sequence) VALUES
    ('{purse}', 'WALLET', '{wallet}', 'AZR', 500, 2), ('{treasury}', 'TREASURY', '{stripe}', 'AZR', -500, 2);
INSERT INTO transactions (id, type, payment_id, reference, create_time) VALUES
    ('{rewarded}', 'EARN', NULL, 'course-completion:{enrollment}', now() - interval '2 hours'),
    ('{granted}', 'EARN', NULL, 'completion-of-courses', now() - interval '1 hour');
INSERT INTO entries (account_id, sequence, transaction_id, currency, amount, balance_after) VALUES
    ('{treasury}', 1, '{rewarded}', 'AZR', -300, -300), ('{purse}', 1, '{rewarded}', 'AZR', 300, 300),
    ('{treasury}', 2, '{granted}', 'AZR', -200, -500), ('{purse}', 2, '{granted}', 'AZR', 200, 500);
"""


async def test_what_older_versions_rewarded_belongs_to_who_granted_it(databases: Databases) -> None:
    ids = {name: new_id() for name in ["wallet", "user", "enrollment", "rewarded", "granted"]}
    treasury = AccountKey.system(AccountKind.TREASURY, 5, "AZR")
    purse = AccountKey.wallet(ids["wallet"], "AZR").id
    rows = EARNED.format(**ids, purse=purse, treasury=treasury.id, stripe=treasury.owner_id)
    async with databases.old("payment", "0011") as clone:
        owner = await asyncpg.connect(clone.owner_url.replace("+asyncpg", ""))
        await owner.execute(rows)
        await owner.close()
        await upgrade("payment", clone.owner_url)
        async with running_payment(clone.app_url, clone.owner_url) as payment:
            person = Person(ids["user"], bearer(payment.signer.token(ids["user"])), payment)
            reward, grant = f"course-completion:{ids['enrollment']}", "completion-of-courses"
            assert (await payment.earn(person, 300, reference=reward)).id == ids["rewarded"]
            assert (await payment.earn(person, 200, reference=grant, metadata=payment.admin().metadata)).id == (
                ids["granted"]
            )
            assert await person.balance() == (500, 0, 500), "nothing was rewarded twice"


LEDGER = """
INSERT INTO wallets (id, user_id, state) VALUES ('{wallet}', '{user}', 'FROZEN'), ('{other}', '{stranger}', 'ACTIVE');
INSERT INTO accounts (id, kind, owner_id, currency, posted, held, sequence) VALUES
    ('{purse}', 'WALLET', '{wallet}', 'AZR', 400, 150, 3), ('{empty}', 'WALLET', '{other}', 'AZR', 0, 0, 0),
    ('{treasury}', 'TREASURY', '{stripe}', 'AZR', -1000, 0, 1), ('{revenue}', 'REVENUE', '{stripe}', 'AZR', 600, 0, 2);
INSERT INTO payments (id, wallet_id, type, amount, currency, refunded, description, refundable_until)
    VALUES ('{payment}', '{wallet}', 'SUBSCRIPTION', 700, 'AZR', 100, 'Brød', now() + interval '1 day');
INSERT INTO refunds (id, payment_id, amount, reason, by_payer, state, create_time, decide_time)
    VALUES ('{refund}', '{payment}', 100, 'Too dry', true, 'COMPLETED', now(), now());
INSERT INTO holds (id, wallet_id, account_id, type, amount, currency, description, expire_time)
    VALUES ('{hold}', '{wallet}', '{purse}', 'DONATION', 150, 'AZR', '', now() + interval '1 day');
INSERT INTO transactions (id, type, payment_id, reference_owner, reference, create_time) VALUES
    ('{earned}', 'EARN', NULL, 'education', 'r', now() - interval '2 hours'),
    ('{paid}', 'PAYMENT', '{payment}', NULL, NULL, now() - interval '1 hour'),
    ('{refund}', 'REFUND', '{payment}', NULL, NULL, now() - interval '90 minutes');
INSERT INTO memos VALUES ('{paid}', 'Brød'), ('{refund}', 'Too dry');
INSERT INTO entries (account_id, sequence, transaction_id, currency, amount, balance_after) VALUES
    ('{treasury}', 1, '{earned}', 'AZR', -1000, -1000), ('{purse}', 1, '{earned}', 'AZR', 1000, 1000),
    ('{purse}', 2, '{paid}', 'AZR', -700, 300), ('{revenue}', 1, '{paid}', 'AZR', 700, 700),
    ('{revenue}', 2, '{refund}', 'AZR', -100, 600), ('{purse}', 3, '{refund}', 'AZR', 100, 400);
UPDATE accounts SET post_time = (SELECT max(transactions.create_time) FROM transactions
    JOIN entries ON entries.transaction_id = transactions.id WHERE entries.account_id = accounts.id);
"""


async def test_the_ledger_of_older_versions_is_carried_over_whole(databases: Databases) -> None:
    names = ["wallet", "user", "other", "stranger", "payment", "hold", "earned", "paid", "refund"]
    ids = {name: new_id() for name in names}
    treasury, revenue = (AccountKey.system(kind, 11, "AZR") for kind in (AccountKind.TREASURY, AccountKind.REVENUE))
    purse, empty = (AccountKey.wallet(ids[name], "AZR").id for name in ("wallet", "other"))
    rows = LEDGER.format(
        **ids, purse=purse, empty=empty, treasury=treasury.id, revenue=revenue.id, stripe=revenue.owner_id
    )
    async with databases.old("payment", "0012") as clone:
        owner = await asyncpg.connect(clone.owner_url.replace("+asyncpg", ""))
        await owner.execute(rows)
        await upgrade("payment", clone.owner_url)
        assert not await broken_chains(owner)
        accounts = {str(row["id"]): row for row in await owner.fetch("SELECT * FROM accounts")}
        assert (accounts[purse]["stripe"], accounts[treasury.id]["stripe"]) == (None, 11)
        assert (accounts[purse]["state"], accounts[empty]["state"]) == ("FROZEN", "ACTIVE")
        assert (accounts[purse]["debit"], accounts[purse]["credit"]) == (700, 1100)
        sources = await owner.fetch("SELECT id, source_kind, source_id FROM transactions ORDER BY create_time")
        expected: list[tuple[str, str | None, str | None]] = [(ids["earned"], None, None)]
        expected += [(ids[name], "PAYMENT", ids["payment"]) for name in ("refund", "paid")]
        assert [(str(id_), kind, source and str(source)) for id_, kind, source in sources] == expected
        assert not await owner.fetch(
            "SELECT FROM (SELECT create_time, lag(create_time) OVER (PARTITION BY account_id ORDER BY sequence)"
            " AS before FROM entries) AS e WHERE create_time < before"
        )
        await owner.execute("UPDATE wallets SET state = 'ACTIVE'")
        async with running_payment(clone.app_url, clone.owner_url) as payment:
            person = Person(ids["user"], bearer(payment.signer.token(ids["user"])), payment)
            assert await person.balance() == (400, 150, 250)
            assert await ApiLedger(payment.channel, Callers.of(payment.signer)).verify() == []
            await payment.replica.checkpoints.create_checkpoint()
            await person.capture(ids["hold"])
            await person.refund(ids["payment"])
            assert (await payment.earn(person, 1000, reference="r")).id == ids["earned"]
            assert await person.balance() == (850, 0, 850)
            assert (await payment.trial_balance()).balanced
            assert not await broken_chains(owner)
            assert await ApiLedger(payment.channel, Callers.of(payment.signer)).verify() == []
        await owner.close()


async def test_refunds_that_older_versions_had_not_told_yet_are_told(databases: Databases) -> None:
    told = [(new_id(), new_id(), True), (new_id(), new_id(), False)]
    time = "2026-01-02T03:04:05.678901+00:00"
    whole, part = (
        json.dumps({"id": event_id, "occur_time": time, "payment_id": payment_id, "in_full": in_full})
        for event_id, payment_id, in_full in told
    )
    async with databases.old("payment", "0001") as clone:
        owner = await asyncpg.connect(clone.owner_url.replace("+asyncpg", ""))
        await owner.execute(JOBS.format(whole=whole, part=part))
        await owner.close()
        await upgrade("payment", clone.owner_url)
        async with running_payment(clone.app_url, clone.owner_url) as payment:

            async def delivered() -> bool:
                return len(payment.education.received) == len(told)

            await eventually(delivered)
            received = payment.education.received
            assert {event.id for event in received} == {event_id for event_id, _, _ in told}
            assert {event.occur_time.ToJsonString() for event in received} == {"2026-01-02T03:04:05.678901Z"}
            assert set(payment.education.refunds()) == {(payment_id, in_full) for _, payment_id, in_full in told}
            assert not await payment.sql("SELECT FROM pgqueuer WHERE entrypoint = 'deliver_event'")


WALLETS = """
INSERT INTO wallets (id, user_id, state) VALUES ('{wallet}', '{user}', 'FROZEN');
INSERT INTO accounts (id, kind, owner_id, currency, posted, held, state)
    VALUES ('{purse}', 'WALLET', '{wallet}', 'AZR', 0, 0, 'FROZEN');
INSERT INTO payments (id, wallet_id, type, amount, currency, description, refundable_until, create_time)
    VALUES ('{payment}', '{wallet}', 'DONATION', 700, 'AZR', '', now(), now() - interval '1 day');
INSERT INTO holds (id, wallet_id, account_id, type, amount, currency, description, expire_time, create_time, state,
    payment_id)
    VALUES ('{taken}', '{wallet}', '{purse}', 'DONATION', 700, 'AZR', '', now(), now() - interval '2 days', 'CAPTURED',
        '{payment}'),
    ('{given}', '{wallet}', '{purse}', 'DONATION', 150, 'AZR', '', now(), now() - interval '2 days', 'RELEASED', NULL);
"""


async def test_frozen_wallets_and_ended_holds_of_older_versions_go_on(databases: Databases) -> None:
    ids = {name: new_id() for name in ["wallet", "user", "payment", "taken", "given"]}
    async with databases.old("payment", "0021") as clone:
        owner = await asyncpg.connect(clone.owner_url.replace("+asyncpg", ""))
        await owner.execute(WALLETS.format(**ids, purse=AccountKey.wallet(ids["wallet"], "AZR").id))
        await upgrade("payment", clone.owner_url)
        rows = await owner.fetch(
            "SELECT holds.end_time = payments.create_time AS same"
            " FROM holds LEFT JOIN payments ON payment_id = payments.id ORDER BY holds.state"
        )
        await owner.close()
        assert [row["same"] for row in rows] == [True, None]
        async with running_payment(clone.app_url, clone.owner_url) as payment:
            admin = payment.admin()
            change = wallet_service_pb2.UnfreezeWalletRequest(wallet_id=ids["wallet"], reason="why")
            wallet = (await payment.wallets.UnfreezeWallet(change, metadata=admin.metadata)).wallet
            assert (wallet.state, wallet.user_id) == (wallet_pb2.WALLET_STATE_ACTIVE, ids["user"])
            assert wallet.last_state_change.actor_id == admin.id


WEBHOOKS = """
INSERT INTO webhooks (id, url, description, event_types, state, secret_sealed)
    SELECT id, '', '', '{}', 'ENABLED', '' FROM unnest($1::uuid[]) AS id;
"""
DELIVERIES = """
INSERT INTO webhook_deliveries (id, webhook_id, event_id, event_type, payload, occur_time, state, attempt_time)
    SELECT gen_random_uuid(), $1, gen_random_uuid(), 't', '{}', now(), state, now() + n * interval '1 second'
    FROM unnest('{DELIVERED,PENDING,PENDING,FAILED}'::text[]) WITH ORDINALITY AS delivery (state, n)
"""


async def test_deliveries_that_older_versions_left_are_due(databases: Databases) -> None:
    busy, idle = new_id(), new_id()
    async with databases.old("payment", "0025") as clone:
        owner = await asyncpg.connect(clone.owner_url.replace("+asyncpg", ""))
        await owner.execute(WEBHOOKS, [busy, idle])
        await owner.execute(DELIVERIES, busy)
        await upgrade("payment", clone.owner_url)
        first = await owner.fetchval("SELECT min(attempt_time)::text FROM webhook_deliveries WHERE state = 'PENDING'")
        rows = await owner.fetch("SELECT id::text, due_time::text FROM webhooks")
        await owner.close()
    assert {row["id"]: row["due_time"] for row in rows} == {busy: first, idle: "infinity"}
