"""Queries and verification of a service's own audit log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from services.shared.audit.chain import EPOCH
from services.shared.audit.model import Finding, FindingType, Progress, Verified
from services.shared.audit.store import SNAPSHOT
from services.shared.audit.verification import loose_findings, seal_findings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.audit.model import EventFilter, EventPosition, Seal, StoredEvent
    from services.shared.audit.store import AuditStore
    from services.shared.db import Database
    from services.shared.pagination import PageTokens

MAX_EVENTS = 5_000
"""Events that one call verifies: a few more where the last seal has them."""
MAX_SEALS = 1_000
MAX_FINDINGS = 25


@dataclass(slots=True)
class Report:
    """What one call has verified so far."""

    findings: list[Finding] = field(default_factory=list)
    seal_count: int = 0
    event_count: int = 0
    last_seal: Seal | None = None


class AuditOperations:
    """Lists and verifies the events of one service."""

    def __init__(self, *, database: Database, store: AuditStore, pages: PageTokens, service_runs: bool = True) -> None:
        """Without its service running, what came after the last seal is yet to be sealed."""
        self._service_runs = service_runs
        self._database = database
        self._store = store
        self._pages = pages
        self._one_at_a_time = asyncio.Semaphore()

    async def list_events(
        self, *, selected: EventFilter, before: EventPosition | None, limit: int
    ) -> Sequence[StoredEvent]:
        """Return the events that are selected, before a position, the newest first."""
        async with self._database.reading() as connection:
            return await self._store.list_events(connection, selected, before=before, limit=limit)

    async def verify_chain(self, *, page_token: str) -> Verified:
        """Verify as many seals as fit into a call from where the token says. Raises PageTokenInvalid."""
        request = self._pages.request(page_size=0, page_token=page_token, bound_to={"method": "VerifyAuditChain"})
        loose, seal, event_id = request.cursor or (False, 0, "")
        verified, rest = await self.verify(progress=Progress(loose=loose, seal=seal, event_id=event_id))
        if rest is None:
            return verified
        return replace(verified, next_page_token=request.token([rest.loose, rest.seal, rest.event_id]))

    async def verify(self, *, progress: Progress) -> tuple[Verified, Progress | None]:
        """Verify a bounded number of events as of one moment; return what was found, and where to go on."""

        async def work(connection: AsyncConnection) -> tuple[Report, Progress | None]:
            await connection.execute(SNAPSHOT)
            report = Report(last_seal=await self._store.find_last_seal(connection))
            step = self._verify_loose if progress.loose else self._verify_seals
            return report, await step(connection, progress, report)

        async with self._one_at_a_time:
            report, rest = await self._database.transaction(work)
        findings = report.findings
        verified = Verified(
            findings=findings[:MAX_FINDINGS],
            finding_count=len(findings),
            seal_count=report.seal_count,
            event_count=report.event_count,
            last_seal_number=report.last_seal.number if report.last_seal else 0,
            last_seal_hash=report.last_seal.hash if report.last_seal else b"",
        )
        return verified, rest

    async def _verify_seals(self, connection: AsyncConnection, at: Progress, report: Report) -> Progress:
        before = await self._store.find_seal(connection, at.seal) if at.seal else None
        before_time = await self._store.find_event_time(connection, before.last_id) if before else None
        found = await self._store.list_seals(connection, after=at.seal, limit=MAX_SEALS)
        seals: list[Seal] = []
        count = 0
        for seal in found:
            if seals and count + seal.count > MAX_EVENTS:
                break
            seals.append(seal)
            count += seal.count
        if not seals:
            return Progress(loose=True)
        sealed = await self._store.list_sealed(
            connection, first=seals[0].number, last=seals[-1].number, limit=count + len(seals)
        )
        # In a thread, so that other calls go on meanwhile.
        report.findings += await asyncio.to_thread(
            lambda: list(seal_findings(seals, sealed, before=before, before_time=before_time))
        )
        report.seal_count, report.event_count = len(seals), len(sealed)
        complete = len(seals) == len(found) < MAX_SEALS
        return Progress(loose=True) if complete else Progress(seal=seals[-1].number)

    async def _verify_loose(self, connection: AsyncConnection, at: Progress, report: Report) -> Progress | None:
        if not at.event_id:
            missing = await self._store.list_missing(connection, limit=MAX_FINDINGS)
            report.findings += [
                Finding(FindingType.EVENT_MISSING, f"auditEvents/{event_id}", "it was recorded") for event_id in missing
            ]
        before = None if self._service_runs else report.last_seal.create_time if report.last_seal else EPOCH
        last_id, loose = await self._store.list_loose(connection, after=at.event_id, limit=MAX_EVENTS, before=before)
        report.findings += loose_findings(loose)
        return Progress(loose=True, event_id=last_id) if last_id else None
