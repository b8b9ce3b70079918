"""Whatever a superuser changes in the ledger is found."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from azora.payment.v1 import ledger_pb2, ledger_service_pb2_grpc
from azora.payment.v1 import ledger_service_pb2 as pb

from services.payment.ledger.model import AccountKey
from services.payment.proofs import note
from services.payment.proofs.model import FindingType, Position
from services.payment.proofs.publication import CheckpointFile, PublishedCheckpoint, published_findings
from services.shared.ids import new_id
from tests.support.payment import EDUCATION, Person, RunningPayment, azr
from tests.support.refusals import refusal
from tests.support.tampering import recompute, tamper
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from services.payment.proofs.model import Finding


async def active_ledger(payment: RunningPayment) -> None:
    """Have something of every kind in the ledger."""
    person, other = await payment.rich(5000), await payment.rich(300)
    await payment.earn(person, 70, description="Well done")
    paid = await person.pay(400)
    await person.refund(paid.id, azr(150))
    await person.hold(90)
    held = await person.hold(200)
    await person.capture(held.id, azr(120))
    await person.release((await person.hold(10)).id)
    await other.pay(30)
    await payment.earn(other, 5)


async def found(payment: RunningPayment, *, limit: int = 5000) -> Sequence[Finding]:
    """Verify the whole ledger, a few rows at a time."""
    findings: list[Finding] = []
    position: Position | None = Position()
    while position is not None:
        verified, position = await payment.replica.verification.verify(position=position, limit=limit)
        findings += verified.findings
    return findings


def stub(payment: RunningPayment) -> ledger_service_pb2_grpc.LedgerServiceAsyncStub:
    return ledger_service_pb2_grpc.LedgerServiceStub(payment.channel)


TAMPERING = {
    "entry amount": "UPDATE entries SET amount = amount + 1 WHERE {entry}",
    "entry balance": "UPDATE entries SET balance_after = balance_after + 1 WHERE {entry}",
    "entry currency": "UPDATE entries SET currency = 'EUR' WHERE {entry}",
    "entry time": "UPDATE entries SET create_time = create_time - interval '1 day' WHERE {entry}",
    "entry hash": "UPDATE entries SET hash = sha256(hash) WHERE {entry}",
    "entry deleted": "DELETE FROM entries WHERE {entry}",
    "last entry deleted": "DELETE FROM entries WHERE account_id = {wallet}"
    " AND sequence = (SELECT sequence FROM accounts WHERE id = {wallet})",
    "all entries deleted": "DELETE FROM entries",
    "entry added": "INSERT INTO entries SELECT account_id, 99, (SELECT transaction_id FROM entries WHERE amount = 5),"
    " currency, amount, balance_after, create_time, hash FROM entries WHERE {entry}",
    "entry of an account that is not there": "UPDATE entries SET account_id = gen_random_uuid() WHERE {entry}",
    "transaction type": "UPDATE transactions SET type = 'EARN' WHERE id = {paid}",
    "transaction source": "UPDATE transactions SET source_id = gen_random_uuid() WHERE id = {paid}",
    "transaction reference": "UPDATE transactions SET reference = reference || '.' WHERE reference IS NOT NULL",
    "transaction reference owner": "UPDATE transactions SET reference_owner = 'x' WHERE reference IS NOT NULL",
    "transaction time": "UPDATE transactions SET create_time = create_time - interval '1 s' WHERE id = {paid}",
    "transaction legs": "UPDATE transactions SET legs = 3 WHERE id = {paid}",
    "transaction deleted": "DELETE FROM transactions WHERE id = {paid}",
    "transaction without entries": "INSERT INTO transactions (id, type, legs, create_time)"
    " VALUES (gen_random_uuid(), 'PAYMENT', 2, now())",
    "description": "UPDATE memos SET description = 'Something else'",
    "description's digest": "UPDATE transactions SET memo_digest = sha256('') WHERE memo_digest IS NOT NULL",
    "description added": "INSERT INTO memos (transaction_id, salt, description) VALUES ({paid}, '\\x00', 'x')",
    "account balance": "UPDATE accounts SET posted = posted + 1 WHERE id = {wallet}",
    "account debit and credit": "UPDATE accounts SET debit = debit + 1, credit = credit + 1 WHERE id = {wallet}",
    "account sequence": "UPDATE accounts SET sequence = sequence + 1 WHERE id = {wallet}",
    "account head": "UPDATE accounts SET head = sha256(head) WHERE id = {wallet}",
    "account time": "UPDATE accounts SET post_time = now() WHERE id = {wallet}",
    "account state": "UPDATE accounts SET state = 'FROZEN' WHERE id = {wallet}",
    "account kind": "UPDATE accounts SET kind = 'REVENUE', stripe = 0 WHERE id = {wallet}",
    "account owner": "UPDATE accounts SET owner_id = gen_random_uuid() WHERE id = {wallet}",
    "account deleted": "DELETE FROM accounts WHERE id = {wallet}",
    "account held": "UPDATE accounts SET held = held + 1 WHERE id = {wallet}",
    "wallet deleted": "DELETE FROM wallets WHERE id = (SELECT owner_id FROM accounts WHERE id = {wallet})",
    "hold amount": "UPDATE holds SET amount = amount + 1 WHERE state = 'ACTIVE'",
    "hold released": "UPDATE holds SET state = 'RELEASED' WHERE state = 'ACTIVE'",
    "hold deleted": "DELETE FROM holds WHERE state = 'ACTIVE'",
    "hold captured": "UPDATE holds SET captured = captured - 1 WHERE state = 'CAPTURED'",
    "hold moved": "UPDATE holds SET currency = 'EUR' WHERE state = 'RELEASED'",
    "payment amount": "UPDATE payments SET amount = amount + 1 WHERE refunded > 0",
    "payment refunded": "UPDATE payments SET refunded = refunded - 1 WHERE refunded > 0",
    "payment refunding": "UPDATE payments SET refunding = 1 WHERE refunded > 0",
    "payment deleted": "DELETE FROM payments WHERE refunded > 0",
    "payment forged": "INSERT INTO payments (id, wallet_id, type, amount, currency, description, refundable_until)"
    " SELECT gen_random_uuid(), wallet_id, type, 999, currency, '', now() FROM payments LIMIT 1",
    "refund amount": "UPDATE refunds SET amount = amount + 1; UPDATE payments SET refunded = refunded + 1"
    " WHERE refunded > 0",
    "refund rejected": "UPDATE refunds SET state = 'REJECTED', rejection = 'X'; UPDATE payments SET refunded = 0"
    " WHERE refunded > 0",
    "refund deleted": "DELETE FROM refunds; UPDATE payments SET refunded = 0 WHERE refunded > 0",
}


async def test_an_intact_ledger_has_no_findings(payment: RunningPayment) -> None:
    assert await found(payment) == []
    await active_ledger(payment)
    assert await found(payment) == []
    await payment.replica.checkpoints.create_checkpoint()
    await active_ledger(payment)
    for limit in (1, 2, 7, 5000):
        assert await found(payment, limit=limit) == []


async def open_account(payment: RunningPayment, *, after: str, before: str) -> None:
    """Have somebody earn whose account is between two others."""
    user_id, wallet_id = new_id(), new_id()
    while not after < AccountKey.wallet(wallet_id, "AZR").id < before:
        wallet_id = new_id()
    await payment.sql("INSERT INTO wallets (id, user_id) VALUES ($1, $2)", wallet_id, user_id)
    await payment.earn(Person(user_id, (), payment), 5)


async def test_an_account_that_is_opened_between_two_pages_is_no_finding(payment: RunningPayment) -> None:
    await active_ledger(payment)
    findings: list[Finding] = []
    position: Position | None = Position()
    opened = 0
    while position is not None:
        verified, position = await payment.replica.verification.verify(position=position, limit=3)
        findings += verified.findings
        if position is not None and position.progress:
            await open_account(payment, after=position.after, before=position.progress.account_id)
            opened += 1
    assert opened
    assert findings == []


@pytest.mark.parametrize("checkpointed", [False, True], ids=["", "checkpointed"])
async def test_every_change_is_found(payment: RunningPayment, checkpointed: bool) -> None:
    await active_ledger(payment)
    if checkpointed:
        await payment.replica.checkpoints.create_checkpoint()
    saved = ("accounts", "entries", "transactions", "memos", "wallets", "holds", "payments", "refunds")
    for table in saved:
        await payment.sql(f"CREATE TABLE saved_{table} AS SELECT * FROM {table}")  # noqa: S608
    for name, statement in TAMPERING.items():
        await tamper(payment, statement)
        assert await found(payment), name
        assert await found(payment, limit=3), f"{name}, in small pages"
        restored = [f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM saved_{table}" for table in saved]  # noqa: S608
        await tamper(payment, *restored)
    assert await found(payment) == []


async def test_entries_that_were_swapped_are_found(payment: RunningPayment) -> None:
    await active_ledger(payment)
    await tamper(
        payment,
        "UPDATE entries SET sequence = 1000 - sequence WHERE account_id = {wallet} AND sequence IN (2, 3)",
        "UPDATE entries SET sequence = sequence - 995 WHERE account_id = {wallet} AND sequence > 900",
    )
    assert {finding.type for finding in await found(payment)} == {FindingType.ENTRY_CHANGED}


async def test_a_finding_names_the_entry_that_was_changed(payment: RunningPayment) -> None:
    await active_ledger(payment)
    (row,) = await payment.sql("SELECT account_id FROM entries WHERE sequence = 5")
    await tamper(payment, "UPDATE entries SET hash = sha256(hash) WHERE {entry}")
    first, second = await found(payment)
    assert first.resource == f"accounts/{row['account_id']}/entries/2"
    assert second.resource == f"accounts/{row['account_id']}/entries/3"


async def test_a_history_that_was_recomputed_is_found_by_the_checkpoint(payment: RunningPayment) -> None:
    await active_ledger(payment)
    await payment.replica.checkpoints.create_checkpoint()
    await payment.rich(10)
    earned = "(SELECT transaction_id FROM entries WHERE amount = 5)"
    await tamper(payment, f"UPDATE entries SET amount = amount * 100 WHERE transaction_id = {earned}")  # noqa: S608
    await recompute(payment)
    findings = await found(payment)
    assert {finding.type for finding in findings} == {FindingType.CHECKPOINT_MISMATCH}
    refused = await refusal(
        stub(payment).CreateCheckpoint(pb.CreateCheckpointRequest(), metadata=payment.admin().metadata)
    )
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "LEDGER_INCONSISTENT")


async def test_accounts_that_vanished_with_their_entries_are_found_by_the_checkpoint(payment: RunningPayment) -> None:
    await payment.rich(10)
    await payment.replica.checkpoints.create_checkpoint()
    await tamper(payment, "DELETE FROM entries", "DELETE FROM accounts", "DELETE FROM transactions")
    assert [finding.type for finding in await found(payment)] == [FindingType.CHECKPOINT_MISMATCH]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE checkpoints SET note = replace(note, 'number 1', 'number 2')",
        "UPDATE checkpoints SET create_time = now()",
        "UPDATE checkpoints SET note = ''",
        "DELETE FROM checkpoints WHERE number = 1",
        "UPDATE checkpoint_heads SET head = sha256(head) WHERE sequence > 2",
        "DELETE FROM checkpoint_heads",
        "UPDATE checkpoint_keys SET id = gen_random_uuid()",
    ],
)
async def test_checkpoints_that_were_changed_are_found(payment: RunningPayment, change: str) -> None:
    await active_ledger(payment)
    await payment.replica.checkpoints.create_checkpoint()
    await payment.rich(10)
    await payment.replica.checkpoints.create_checkpoint()
    assert await found(payment) == []
    await tamper(payment, change)
    assert FindingType.CHECKPOINT_MISMATCH in {finding.type for finding in await found(payment)}


async def test_checkpoints_made_at_once_are_one(payment: RunningPayment) -> None:
    await active_ledger(payment)
    admin, request = payment.admin(), pb.CreateCheckpointRequest()
    here = (payment.replica.checkpoints.create_checkpoint() for _ in range(3))
    there = (stub(payment).CreateCheckpoint(request, metadata=admin.metadata) for _ in range(3))
    made, answers = await asyncio.gather(asyncio.gather(*here), asyncio.gather(*there))
    notes = [checkpoint.note for checkpoint in made] + [answer.checkpoint.note for answer in answers]
    assert len(set(notes)) == 1
    assert (await payment.replica.checkpoints.create_checkpoint()).number == 1
    await payment.rich(10)
    assert (await payment.replica.checkpoints.create_checkpoint()).number == 2
    assert await found(payment) == []


async def test_proofs_leave_connections_for_calls(payment: RunningPayment) -> None:
    replica = payment.replica
    await payment.rich(10)
    connection = await asyncpg.connect(payment.owner_url.replace("+asyncpg", ""))
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE")
            running: list[asyncio.Task[Any]] = [
                asyncio.create_task(replica.verification.verify(position=Position())) for _ in range(20)
            ]
            running += [asyncio.create_task(replica.checkpoints.create_checkpoint()) for _ in range(20)]
            await eventually(lambda: payment.sql("SELECT FROM pg_locks WHERE NOT granted"))
            async with asyncio.timeout(5):
                assert await replica.checkpoints.list_checkpoint_keys() == []
    finally:
        await connection.close()
    await asyncio.gather(*running)


async def test_the_next_key_is_endorsed_by_the_one_before(payment: RunningPayment) -> None:
    await payment.rich(10)
    first = await payment.replica.checkpoints.create_checkpoint()
    await tamper(payment, "UPDATE checkpoint_keys SET create_time = create_time - interval '366 days'")
    await payment.rich(10)
    second = await payment.replica.checkpoints.create_checkpoint()
    assert second.key_id != first.key_id
    response = await stub(payment).ListCheckpointKeys(pb.ListCheckpointKeysRequest())
    old, new = response.keys
    assert (old.state, new.state) == (
        ledger_pb2.CHECKPOINT_KEY_STATE_RETIRED,
        ledger_pb2.CHECKPOINT_KEY_STATE_ACTIVE,
    )
    assert note.is_endorsed(new.verifier_key, new.endorsement, old.verifier_key)
    assert await payment.sql("SELECT FROM checkpoint_keys WHERE state = 'RETIRED' AND private_key_sealed IS NULL")
    assert await found(payment) == []
    await tamper(payment, "UPDATE checkpoint_keys SET endorsement = NULL")
    assert [finding.resource for finding in await found(payment)] == [f"checkpointKeys/{new.id}"]


async def test_the_file_has_every_checkpoint_and_finds_what_the_database_lost(
    payment: RunningPayment, tmp_path: Path
) -> None:
    file = CheckpointFile(tmp_path / "checkpoints.jsonl")
    checkpoints = payment.replica.checkpoints
    await payment.rich(10)
    await checkpoints.create_checkpoint()  # Before there is a file.
    checkpoints._file = file
    await payment.rich(10)
    await checkpoints.create_checkpoint()
    with (tmp_path / "checkpoints.jsonl").open("a") as torn:
        torn.write('{"number": 3, "no')
    await tamper(payment, "UPDATE checkpoint_keys SET create_time = create_time - interval '366 days'")
    await payment.rich(10)
    await checkpoints.create_checkpoint()
    await checkpoints.publish()
    published = file.read()
    assert [checkpoint.number for checkpoint in published] == [1, 2, 3]
    stored = {row["number"]: row["note"] for row in await payment.sql("SELECT number, note FROM checkpoints")}
    assert published_findings(published, stored) == []
    assert [finding.resource for finding in published_findings(published, {1: stored[1], 2: stored[1]})] == [
        "checkpoints/2",
        "checkpoints/3",
    ]
    forged = PublishedCheckpoint(3, published[2].note, published[2].verifier, b"")
    assert published_findings([*published[:2], forged], stored)
    assert json.loads(published[0].line())["verifierKey"].startswith("localhost:8080/payment/ledger+")


async def test_verification_over_the_api(payment: RunningPayment) -> None:
    await active_ledger(payment)
    admin, ledger = payment.admin(), stub(payment)
    made = (await ledger.CreateCheckpoint(pb.CreateCheckpointRequest(), metadata=admin.metadata)).checkpoint
    (listed,) = (await ledger.ListCheckpoints(pb.ListCheckpointsRequest(), metadata=admin.metadata)).checkpoints
    assert listed == made
    (key,) = (await ledger.ListCheckpointKeys(pb.ListCheckpointKeysRequest())).keys
    assert (key.id, note.verify(made.note, key.verifier_key)) == (made.key_id, True)
    entries, pages, token = 0, 0, ""
    while pages == 0 or token:
        request = pb.VerifyChainRequest(page_size=5, page_token=token)
        response = await ledger.VerifyChain(request, metadata=admin.metadata)
        assert (response.finding_count, list(response.findings)) == (0, [])
        entries, pages, token = entries + response.entry_count, pages + 1, response.next_page_token
    (row,) = await payment.sql("SELECT count(*) FROM entries")
    assert (entries, pages > 5) == (row[0], True)
    await tamper(payment, "UPDATE accounts SET head = sha256(head)")
    response = await ledger.VerifyChain(pb.VerifyChainRequest(), metadata=admin.metadata)
    assert response.finding_count == len(response.findings) == response.account_count > 3
    assert response.findings[0].type == ledger_pb2.FINDING_TYPE_ACCOUNT_MISMATCH
    changed = pb.VerifyChainRequest(page_token=f"x{token}")
    assert (await refusal(ledger.VerifyChain(changed, metadata=admin.metadata))).reason == "PAGE_TOKEN_INVALID"


async def test_entries_are_listed_with_all_that_a_chain_covers(payment: RunningPayment) -> None:
    await active_ledger(payment)
    admin, ledger = payment.admin(), stub(payment)

    async def listed(**fields: str) -> list[ledger_pb2.Entry]:
        entries: list[ledger_pb2.Entry] = []
        token = ""
        while not entries or token:
            request = pb.ListEntriesRequest(page_size=3, page_token=token, **fields)
            response = await ledger.ListEntries(request, metadata=admin.metadata)
            entries += response.entries
            token = response.next_page_token
        return entries

    everything = await listed()
    (row,) = await payment.sql("SELECT count(*) FROM entries")
    assert len({(entry.account_id, entry.sequence) for entry in everything}) == len(everything) == row[0]
    assert [entry.transaction_id for entry in everything] == sorted(
        (entry.transaction_id for entry in everything), reverse=True
    )
    first = everything[0]
    legs = await listed(transaction_id=first.transaction_id)
    assert sum(leg.amount for leg in legs) == 0
    assert (await listed(transaction_id=first.transaction_id, account_id=first.account_id)) == [first]
    account = await listed(account_id=first.account_id)
    assert [entry.sequence for entry in account] == list(range(len(account), 0, -1))
    assert account[-1].hash != bytes(32)
    assert any(entry.description_digest for entry in everything)


@pytest.mark.parametrize("method", ["VerifyChain", "ListEntries", "CreateCheckpoint", "ListCheckpoints"])
async def test_the_proofs_are_for_administrators(payment: RunningPayment, method: str) -> None:
    request = getattr(pb, f"{method}Request")()
    for metadata in (payment.person().metadata, payment.person("ROLE_EDUCATOR").metadata, EDUCATION):
        refused = await refusal(getattr(stub(payment), method)(request, metadata=metadata))
        assert refused.reason == "ACCESS_DENIED"
    assert (await refusal(getattr(stub(payment), method)(request))).reason == "TOKEN_MISSING"


@pytest.mark.parametrize("table", ["checkpoints", "checkpoint_heads"])
async def test_checkpoints_are_append_only(payment: RunningPayment, table: str) -> None:
    await payment.rich(10)
    await payment.replica.checkpoints.create_checkpoint()
    for app in (True, False):
        with pytest.raises(Exception, match=r"permission denied|append-only"):
            await payment.sql(f"DELETE FROM {table}", app=app)  # noqa: S608
