"""The part of `azora verify` that verifies audit logs: by the databases, or over the API."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from azora import client
from azora.auth.v1 import audit_service_pb2, audit_service_pb2_grpc

from services.cli.databases import database_urls
from services.shared.audit.convert import verified_chain
from services.shared.audit.model import Progress
from services.shared.audit.operations import AuditOperations
from services.shared.audit.store import AuditStore
from services.shared.db import Database
from services.shared.pagination import PageTokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.cli.output import Output
    from services.shared.audit.model import Verified

KEY_BYTES = 32


async def verify_audit_logs(out: Output, target: str, token: str, *, tls: bool) -> int:
    """Verify the audit logs of all services, or of the environment's database; print and count what is wrong."""
    findings, counts = 0, dict[str, int]()
    last: dict[str, Verified] = {}
    async for name, verified in _over_api(target, token, tls=tls) if target else _offline():
        if verified is None:
            out.say(f"{name}: it did not answer", unreachable=name)
            findings += 1
            continue
        for finding in verified.findings:
            out.finding(finding.type, f"{name}/{finding.resource}", finding.description)
        findings += verified.finding_count
        counts[name] = counts.get(name, 0) + verified.event_count
        last[name] = verified
    for name, verified in sorted(last.items()):
        seal = f"{verified.last_seal_number} {verified.last_seal_hash.hex()}" if verified.last_seal_number else "none"
        out.say(
            f"verified {counts[name]} audit events of {name}, last seal {seal}",
            service=name,
            auditEvents=counts[name],
            lastSeal=verified.last_seal_number or None,
            lastSealHash=verified.last_seal_hash.hex() or None,
        )
    return findings


async def _offline() -> AsyncIterator[tuple[str, Verified | None]]:
    for url in database_urls():
        name, database = urlsplit(url).path.strip("/"), Database(url, pool_size=1)
        pages = PageTokens(os.urandom(KEY_BYTES))
        operations = AuditOperations(database=database, store=AuditStore(), pages=pages, service_runs=False)
        progress: Progress | None = Progress()
        try:
            while progress is not None:
                verified, progress = await operations.verify(progress=progress)
                yield name, verified
        finally:
            await database.close()


async def _over_api(target: str, token: str, *, tls: bool) -> AsyncIterator[tuple[str, Verified | None]]:
    async with client.connect(target, tls=tls) as channel:
        audit, page_token = audit_service_pb2_grpc.AuditServiceStub(channel), ""
        while True:
            request = audit_service_pb2.VerifyChainRequest(page_token=page_token)
            response = await audit.VerifyChain(request, metadata=client.bearer(token))
            for chain in response.chains:
                yield chain.service, verified_chain(chain, next_page_token="")
            for name in response.unreachable:
                yield name, None
            page_token = response.next_page_token
            if not page_token:
                return
