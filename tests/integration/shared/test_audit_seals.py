"""Seals of the audit log: what is changed, deleted or inserted, even by a superuser, is found."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from services.shared.audit.model import Action, Finding, Progress
from services.shared.audit.operations import AuditOperations
from services.shared.audit.recording import record
from services.shared.audit.sealing import Sealing
from services.shared.audit.store import AuditStore
from services.shared.db import Database
from services.shared.errors import PageTokenInvalid
from services.shared.ids import new_id
from services.shared.pagination import PageTokens
from services.shared.principal import Principal, Request, serve_request
from tests.support.exporting import exported_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.postgres import Clone

USER = Principal(user_id=new_id(), address="203.0.113.7")


@dataclass(frozen=True, slots=True)
class Audited:
    """A database with an audit log."""

    clone: Clone
    database: Database
    store: AuditStore
    sealing: Sealing
    operations: AuditOperations

    async def record(self, count: int = 1) -> None:
        """Record events in a transaction each."""
        for _ in range(count):
            await self.database.transaction(self.record_one)

    async def record_one(self, connection: AsyncConnection) -> None:
        """Record an event."""
        await record(connection, action=Action.USER_SIGN_IN, target="users/1")

    async def findings(self) -> list[Finding]:
        """Verify everything."""
        findings: list[Finding] = []
        progress: Progress | None = Progress()
        while progress is not None:
            verified, progress = await self.operations.verify(progress=progress)
            findings += verified.findings
            assert verified.finding_count >= len(verified.findings)
        return findings

    async def types(self) -> set[str]:
        """Verify everything; return the types of what was found."""
        return {str(finding.type) for finding in await self.findings()}

    async def tamper(self, *statements: str) -> None:
        """Run statements as a superuser whom no trigger and no rule holds back."""
        async with self.clone.server.connection(self.clone.name) as connection:
            await connection.execute("SET session_replication_role = replica")
            for statement in statements:
                await connection.execute(statement)

    async def rows(self, statement: str) -> list[asyncpg.Record]:
        """Read."""
        async with self.clone.server.connection(self.clone.name) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(statement)
            return rows


@pytest.fixture
async def audited(education_database: Clone) -> AsyncIterator[Audited]:
    serve_request(Request(principal=USER))
    database, store = Database(education_database.app_url, pool_size=4), AuditStore()
    yield Audited(
        education_database,
        database,
        store,
        Sealing(database=database, store=store),
        AuditOperations(database=database, store=store, pages=PageTokens(b"k" * 32)),
    )
    await database.close()


async def test_a_seal_names_first_last_count_root_and_the_seal_before(audited: Audited) -> None:
    await audited.record(3)
    assert await audited.sealing.seal() == 3
    await audited.record()
    assert await audited.sealing.seal() == 1
    assert await audited.sealing.seal() == 0, "nothing is left to seal"
    first, second = await audited.rows("SELECT * FROM audit_seals ORDER BY number")
    ids = [row["id"] for row in await audited.rows("SELECT id FROM audit_events ORDER BY id")]
    assert (first["number"], first["first_id"], first["last_id"], first["count"]) == (1, ids[0], ids[2], 3)
    assert (second["first_id"], second["last_id"], second["previous"]) == (ids[3], ids[3], first["hash"])
    assert not await audited.findings()


async def test_an_event_that_commits_late_is_sealed_later(audited: Audited) -> None:
    recorded, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: AsyncConnection) -> None:
        await audited.record_one(connection)
        recorded.set()
        await go_on.wait()

    late = asyncio.create_task(audited.database.transaction(slow))
    await recorded.wait()
    await audited.record(2)
    assert await audited.sealing.seal() == 2
    go_on.set()
    await late
    assert await audited.sealing.seal() == 1, "its id is lower than those that were sealed before it"
    assert not await audited.findings()


async def test_replicas_that_seal_at_once_make_one_chain(audited: Audited) -> None:
    async def record_and_seal() -> None:
        for _ in range(10):
            await audited.record()
            await audited.sealing.seal()

    await asyncio.gather(*(record_and_seal() for _ in range(4)))
    await audited.sealing.seal()
    sums = await audited.rows("SELECT sum(count)::int AS events, max(number) = count(*) AS dense FROM audit_seals")
    assert [tuple(row) for row in sums] == [(40, True)]
    assert not await audited.findings()


async def test_many_events_are_sealed_and_verified_in_steps(audited: Audited) -> None:
    await audited.tamper(
        "INSERT INTO audit_events (id, action, outcome, reason, service, target, count, trace_id)"
        " SELECT uuidv7(), 'x', 'FAILED', '', '', '', 1, '' FROM generate_series(1, 2500)",
        "INSERT INTO audit_positions SELECT id FROM audit_events",
    )
    assert await audited.sealing.seal() == 2_500
    pages, token, events = 0, "", 0
    while True:
        verified = await audited.operations.verify_chain(page_token=token)
        assert not verified.findings
        pages, token, events = pages + 1, verified.next_page_token, events + verified.event_count
        if not token:
            break
    assert (pages, events) == (6, 2_500)
    with pytest.raises(PageTokenInvalid):
        await audited.operations.verify_chain(page_token="x")


COPY = """
    INSERT INTO audit_events (id, action, outcome, reason, service, target, count, trace_id, create_time)
    SELECT uuidv7(), action, outcome, reason, service, target, count, trace_id, create_time FROM audit_events LIMIT 1
"""


@pytest.mark.parametrize(
    ("statements", "type_"),
    [
        (["UPDATE audit_events SET outcome = 'FAILED' WHERE id = (SELECT first_id FROM seals_2)"], "EVENT_CHANGED"),
        (["UPDATE audit_events SET create_time = create_time + interval '1 us'"], "EVENT_CHANGED"),
        (["UPDATE audit_origins SET address = '198.51.100.1'"], "EVENT_CHANGED"),
        (["DELETE FROM audit_events WHERE id = (SELECT first_id FROM seals_2)"], "EVENT_MISSING"),
        (["DELETE FROM audit_events", "DELETE FROM audit_positions"], "EVENT_MISSING"),
        (
            [COPY],
            "EVENT_INSERTED",
        ),
        (
            [
                COPY,
                "INSERT INTO audit_positions SELECT id, 2 FROM audit_events ORDER BY id DESC LIMIT 1",
            ],
            "EVENT_INSERTED",
        ),
        (["UPDATE audit_seals SET root = decode(repeat('11', 32), 'hex') WHERE number = 2"], "SEAL_CHANGED"),
        (["UPDATE audit_seals SET create_time = now() WHERE number = 3"], "SEAL_CHANGED"),
        (["UPDATE audit_seals SET count = count + 1 WHERE number = 3"], "SEAL_CHANGED"),
        (["DELETE FROM audit_seals WHERE number = 2"], "SEAL_MISSING"),
        (["DELETE FROM audit_seals WHERE number = 3"], "SEAL_MISSING"),
        (["UPDATE audit_positions SET seal = 3 WHERE seal = 2"], "EVENT_INSERTED"),
    ],
)
async def test_what_a_superuser_changes_is_found(audited: Audited, statements: list[str], type_: str) -> None:
    for _ in range(3):
        await audited.record(2)
        await audited.sealing.seal()
    assert not await audited.findings()
    await audited.tamper("CREATE VIEW seals_2 AS SELECT * FROM audit_seals WHERE number = 2", *statements)
    assert type_ in await audited.types()


async def test_a_row_that_is_inserted_with_an_earlier_time_and_sealed_is_found(audited: Audited) -> None:
    await audited.record()
    await audited.sealing.seal()
    await audited.tamper(
        COPY.replace("trace_id, create_time FROM", "'x', create_time FROM"),
        "UPDATE audit_events SET create_time = create_time - interval '1 hour' WHERE trace_id = 'x'",
        "INSERT INTO audit_positions SELECT id FROM audit_events ORDER BY id DESC LIMIT 1",
    )
    assert await audited.sealing.seal() == 1
    assert await audited.types() == {"EVENT_INSERTED"}


async def test_an_event_that_nobody_seals_is_found_after_a_minute(audited: Audited) -> None:
    await audited.record()
    assert not await audited.findings()
    await audited.tamper("UPDATE audit_events SET create_time = create_time - interval '2 minutes'")
    assert await audited.types() == {"EVENT_UNSEALED"}
    await audited.tamper("DELETE FROM audit_events")
    assert await audited.types() == {"EVENT_MISSING"}


async def test_what_a_service_that_was_killed_had_yet_to_seal_is_no_finding_while_it_does_not_run(
    audited: Audited,
) -> None:
    offline = AuditOperations(
        database=audited.database, store=audited.store, pages=PageTokens(b"k" * 32), service_runs=False
    )
    at_rest = replace(audited, operations=offline)
    await audited.record()
    await audited.tamper("UPDATE audit_events SET create_time = create_time - interval '2 minutes'")
    assert not await at_rest.findings()
    await audited.sealing.seal()
    assert not await at_rest.findings()
    await audited.tamper("UPDATE audit_positions SET seal = NULL")
    assert await at_rest.types() == {"EVENT_MISSING", "EVENT_UNSEALED"}


async def test_verification_begins_after_a_seal_that_is_known(audited: Audited) -> None:
    for _ in range(3):
        await audited.record(2)
        await audited.sealing.seal()
    (first, second, third) = await audited.rows("SELECT number, hash, last_id FROM audit_seals ORDER BY number")

    async def after(number: int, known_hash: bytes) -> tuple[int, list[str]]:
        """Return how many seals were verified, and what was found."""
        token, seals, found = "", 0, list[str]()
        while True:
            verified = await audited.operations.verify_chain(page_token=token, after=(number, known_hash))
            seals += verified.seal_count
            found += [f"{finding.type} {finding.resource}" for finding in verified.findings]
            if verified.verified_seal_number:
                assert (verified.verified_seal_number, verified.verified_seal_hash) == (3, third["hash"])
            token = verified.next_page_token
            if not token:
                return seals, found

    assert await after(1, first["hash"]) == (2, [])
    assert await after(3, third["hash"]) == (0, [])
    assert await after(2, first["hash"]) == (1, ["SEAL_CHANGED auditSeals/2"])
    assert "SEAL_MISSING auditSeals/4" in (await after(4, third["hash"]))[1]
    # What the known seal covers is not read again; what follows it is.
    event = "UPDATE audit_events SET target = 'users/2' WHERE id = '{}'"
    await audited.tamper(event.format(first["last_id"]))
    assert await after(2, second["hash"]) == (1, [])
    await audited.tamper(event.format(third["last_id"]))
    assert await after(2, second["hash"]) == (1, ["EVENT_CHANGED auditSeals/3"])


async def test_what_is_erased_of_a_person_leaves_the_seals_intact(audited: Audited) -> None:
    await audited.record(2)
    await audited.sealing.seal()
    exported = await audited.database.transaction(
        lambda connection: exported_by(audited.store, connection, user_id=USER.user_id)
    )
    assert [event["address"] for event in exported["auditEvents"]] == ["203.0.113.7"] * 2
    for rows in (2, 0):
        erased = await audited.database.transaction(
            lambda connection: audited.store.erase_person(connection, user_id=USER.user_id)
        )
        assert erased == rows
    assert not await audited.rows("SELECT FROM audit_origins")
    assert not await audited.findings()
