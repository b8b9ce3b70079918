"""The part of `azora verify` that verifies audit logs: by the databases, or over the API."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from azora import client
from azora.auth.v1 import audit_service_pb2, audit_service_pb2_grpc

from services.cli.databases import database_urls
from services.shared.audit.convert import known_seals, verified_chain
from services.shared.audit.model import Progress
from services.shared.audit.operations import AuditOperations
from services.shared.audit.store import AuditStore
from services.shared.db import Database
from services.shared.pagination import PageTokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from services.cli.output import Output
    from services.shared.audit.model import Verified

KEY_BYTES = 32
RETRY_SECONDS = 1.0
"""Pause before a service that did not answer is asked again."""


async def verify_audit_logs(out: Output, target: str, token: str, *, tls: bool, after: Sequence[str] = ()) -> int:
    """Verify the audit logs of all services, or of the environment's database; print and count what is wrong.

    `after` are seals to begin after, as "service:number:hash". What was verified is told even if an error ends it.
    """
    known = known_seals(after)
    findings, unreachable = 0, set[str]()
    counts: dict[str, int] = {}
    last: dict[str, Verified] = {}
    verified_seals = {name: f"{number}:{digest.hex()}" for name, (number, digest) in known.items()}
    pages = _over_api(target, token, after, tls=tls) if target else _offline(known)
    try:
        async for name, verified in pages:
            if verified is None:
                unreachable.add(name)
                continue
            unreachable.discard(name)
            findings += _report(out, name, verified)
            counts[name] = counts.get(name, 0) + verified.event_count
            last[name] = verified
            if verified.verified_seal_number:
                verified_seals[name] = f"{verified.verified_seal_number}:{verified.verified_seal_hash.hex()}"
    finally:
        for name, seal in sorted(verified_seals.items()):
            out.say(f"{name} is verified up to --after-seal {name}:{seal}", verifiedSeal=f"{name}:{seal}")
    for name in sorted(unreachable):
        out.say(f"{name}: it did not answer", unreachable=name)
    for name, verified in sorted(last.items()):
        seal = f"{verified.last_seal_number} {verified.last_seal_hash.hex()}" if verified.last_seal_number else "none"
        out.say(
            f"verified {counts[name]} audit events of {name}, last seal {seal}",
            service=name,
            auditEvents=counts[name],
            lastSeal=verified.last_seal_number or None,
            lastSealHash=verified.last_seal_hash.hex() or None,
        )
    return findings + len(unreachable)


def _report(out: Output, name: str, verified: Verified) -> int:
    for finding in verified.findings:
        out.finding(finding.type, f"{name}/{finding.resource}", finding.description)
    return verified.finding_count


async def _offline(known: Mapping[str, tuple[int, bytes]]) -> AsyncIterator[tuple[str, Verified | None]]:
    for url in database_urls():
        name, database = urlsplit(url).path.strip("/"), Database(url, pool_size=1)
        pages = PageTokens(os.urandom(KEY_BYTES))
        operations = AuditOperations(database=database, store=AuditStore(), pages=pages, service_runs=False)
        number, digest = known.get(name, (0, b""))
        progress: Progress | None = Progress(seal=number, seal_hash=digest)
        try:
            while progress is not None:
                verified, progress = await operations.verify(progress=progress)
                yield name, verified
        finally:
            await database.close()


async def _over_api(
    target: str, token: str, after: Sequence[str], *, tls: bool
) -> AsyncIterator[tuple[str, Verified | None]]:
    async with client.connect(target, tls=tls) as channel:
        audit, page_token = audit_service_pb2_grpc.AuditServiceStub(channel), ""
        while True:
            request = audit_service_pb2.VerifyChainRequest(page_token=page_token, after_seals=after)
            response = await audit.VerifyChain(request, metadata=client.bearer(token))
            for chain in response.chains:
                yield chain.service, verified_chain(chain, next_page_token="")
            for name in response.unreachable:
                yield name, None
            page_token = response.next_page_token
            if not page_token:
                return
            if response.unreachable:
                await asyncio.sleep(RETRY_SECONDS)
