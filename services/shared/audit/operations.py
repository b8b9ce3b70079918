"""Queries and verification of a service's own audit log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from services.shared.audit.chain import EPOCH
from services.shared.audit.model import Finding, FindingType, Progress, Verified
from services.shared.audit.store import SNAPSHOT
from services.shared.audit.verification import known_findings, loose_findings, seal_findings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.audit.model import EventFilter, EventPosition, Seal, StoredEvent
    from services.shared.audit.store import AuditStore
    from services.shared.db import Database
    from services.shared.pagination import PageTokens

MAX_EVENTS = 1_000
"""Maximum number of events that one call verifies, but for one seal of more: reading them holds up every call."""
MAX_SEALS = 1_000
MAX_FINDINGS = 25


@dataclass(slots=True)
class Report:
    """What one call has verified so far."""

    findings: list[Finding] = field(default_factory=list)
    seal_count: int = 0
    event_count: int = 0
    last_seal: Seal | None = None
    verified_seal: Seal | None = None


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

    async def verify_chain(self, *, page_token: str, after: tuple[int, bytes] = (0, b"")) -> Verified:
        """Verify as many seals as fit into a call from where the token says. Raises PageTokenInvalid.

        The first call begins after a seal whose number and hash are known.
        """
        request = self._pages.request(page_size=0, page_token=page_token, bound_to={"method": "VerifyAuditChain"})
        progress = Progress(seal=after[0], seal_hash=after[1])
        if request.cursor:
            loose, seal, event_id = request.cursor
            progress = Progress(loose=loose, seal=seal, event_id=event_id)
        verified, rest = await self.verify(progress=progress)
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
            report, rest = await self._database.transaction(work, computes=True)
        findings = report.findings
        verified = Verified(
            findings=findings[:MAX_FINDINGS],
            finding_count=len(findings),
            seal_count=report.seal_count,
            event_count=report.event_count,
            last_seal_number=report.last_seal.number if report.last_seal else 0,
            last_seal_hash=report.last_seal.hash if report.last_seal else b"",
            verified_seal_number=report.verified_seal.number if report.verified_seal else 0,
            verified_seal_hash=report.verified_seal.hash if report.verified_seal else b"",
        )
        return verified, rest

    async def _verify_seals(self, connection: AsyncConnection, at: Progress, report: Report) -> Progress:
        before = await self._store.find_seal(connection, at.seal) if at.seal else None
        before_time = await self._store.find_event_time(connection, before.last_id) if before else None
        event_id = at.event_id
        if at.seal_hash:
            report.findings += known_findings(before, number=at.seal, known_hash=at.seal_hash)
            event_id = before.first_id if before else ""
        found = await self._store.list_seals(connection, after=at.seal, limit=MAX_SEALS)
        seals: list[Seal] = []
        count = 0
        for seal in found:
            if seals and count + seal.count > MAX_EVENTS:
                break
            seals.append(seal)
            count += seal.count
        if not seals:
            return await self._loose_from(connection, event_id, report)
        sealed = await self._store.list_sealed(
            connection, first=seals[0].number, last=seals[-1].number, limit=count + len(seals)
        )
        # In a thread, so that other calls go on meanwhile.
        report.findings += await asyncio.to_thread(
            lambda: list(seal_findings(seals, sealed, before=before, before_time=before_time))
        )
        report.seal_count, report.event_count, report.verified_seal = len(seals), len(sealed), seals[-1]
        if len(seals) == len(found) < MAX_SEALS:
            return await self._loose_from(connection, event_id, report)
        return Progress(seal=seals[-1].number, event_id=event_id)

    async def _loose_from(self, connection: AsyncConnection, event_id: str, report: Report) -> Progress:
        missing = await self._store.list_missing(connection, limit=MAX_FINDINGS)
        report.findings += [
            Finding(FindingType.EVENT_MISSING, f"auditEvents/{missing_id}", "it was recorded") for missing_id in missing
        ]
        return Progress(loose=True, event_id=event_id)

    async def _verify_loose(self, connection: AsyncConnection, at: Progress, report: Report) -> Progress | None:
        before = None if self._service_runs else report.last_seal.create_time if report.last_seal else EPOCH
        last_id, loose = await self._store.list_loose(connection, after=at.event_id, limit=MAX_EVENTS, before=before)
        report.findings += loose_findings(loose)
        return Progress(loose=True, event_id=last_id) if last_id else None
