"""`azora verify`: whether the ledger and the audit logs are intact, by their databases or over the API."""

from __future__ import annotations

import asyncio
import sys
from getpass import getpass
from typing import TYPE_CHECKING, NamedTuple

from azora import client
from azora.payment.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc

from services.cli.audit_logs import verify_audit_logs
from services.cli.databases import database_urls
from services.payment.admin import stored_notes, verify_ledger
from services.payment.proofs.publication import CheckpointFile, published_findings
from services.shared.db import StatementFailed
from services.shared.errors import DomainError
from services.shared.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from services.cli.output import Output
    from services.payment.proofs.model import Finding

LEDGER, AUDIT = "ledger", "audit"
PAGE_SIZE = 5_000
CHECKPOINTS_PAGE_SIZE = 100


class Page(NamedTuple):
    """What one page of verification found."""

    findings: Sequence[tuple[str, str, str]]
    """Type, resource and description."""
    finding_count: int
    account_count: int
    entry_count: int
    checkpoint_number: int


def verify(
    out: Output,
    *,
    only: str = "",
    checkpoints: Path | None = None,
    after_seals: Sequence[str] = (),
    target: str = "",
    tls: bool = False,
) -> int:
    """Verify the ledger and the audit logs, and print what is wrong.

    Returns 1 if something is, or if it could not be verified. `only` is LEDGER or AUDIT; empty for both.

    With a `target` ("localhost:8080") it is verified over the API, by the access token of an administrator that
    is asked for. `checkpoints` is a checkpoint file, whose checkpoints must be those of the ledger. The audit logs are
    verified after these seals, "service:number:hash", which an earlier verification has printed.
    """
    try:
        token = _access_token() if target else ""
        return asyncio.run(_verify(out, only, checkpoints, target, token, after_seals=after_seals, tls=tls))
    except client.CallError as error:
        return out.failed("verify", error)
    except (DomainError, SettingsError, StatementFailed, OSError) as error:
        return out.failed("verify", error)


async def _verify(
    out: Output,
    only: str,
    checkpoints: Path | None,
    target: str,
    token: str,
    *,
    after_seals: Sequence[str],
    tls: bool,
) -> int:
    findings = 0
    if only != AUDIT:
        findings += await _verify_ledger(out, checkpoints, target, token, tls=tls)
    if only != LEDGER:
        with out.progress("verifying the audit logs"):
            found = await verify_audit_logs(out, target, token, tls=tls, after=after_seals)
        out.say(f"{found} findings" if found else "the audit logs are intact", auditFindings=found)
        findings += found
    return 1 if findings else 0


async def _verify_ledger(out: Output, checkpoints: Path | None, target: str, token: str, *, tls: bool) -> int:
    findings = entries = accounts = checkpoint = 0
    (url,) = [""] if target else database_urls("payment")
    with out.progress("verifying the ledger") as progress:
        async for page in _over_api(target, token, tls=tls) if target else _offline(url):
            for finding in page.findings:
                out.finding(*finding)
            if page.finding_count > len(page.findings):
                more = page.finding_count - len(page.findings)
                out.say(f"... and {more} more", moreFindings=more)
            findings += page.finding_count
            accounts, entries = accounts + page.account_count, entries + page.entry_count
            checkpoint = max(checkpoint, page.checkpoint_number)
            progress(f"verifying the ledger: {accounts} accounts and {entries} entries so far")
    out.say(
        f"verified {accounts} accounts and {entries} entries, checkpoint {checkpoint or 'none'}",
        accounts=accounts,
        entries=entries,
        checkpoint=checkpoint or None,
    )
    if checkpoints is not None:
        published = CheckpointFile(checkpoints).read()
        stored = await (_notes_over_api(target, token, tls=tls) if target else stored_notes(url))
        wrong = published_findings(published, stored)
        for differing in wrong:
            out.finding(*_named(differing))
        out.say(f"compared {len(published)} checkpoints of {checkpoints}", comparedCheckpoints=len(published))
        findings += len(wrong)
    out.say(f"{findings} findings" if findings else "the ledger is intact", ledgerFindings=findings)
    return findings


async def _offline(url: str) -> AsyncIterator[Page]:
    async for verified in verify_ledger(url):
        yield Page(
            [_named(finding) for finding in verified.findings],
            verified.finding_count,
            verified.account_count,
            verified.entry_count,
            verified.checkpoint.number if verified.checkpoint else 0,
        )


async def _over_api(target: str, token: str, *, tls: bool) -> AsyncIterator[Page]:
    async with client.connect(target, tls=tls) as channel:
        ledger, page_token = ledger_service_pb2_grpc.LedgerServiceStub(channel), ""
        while True:
            request = ledger_service_pb2.VerifyChainRequest(page_size=PAGE_SIZE, page_token=page_token)
            response = await ledger.VerifyChain(request, metadata=client.bearer(token))
            yield Page(
                [
                    (
                        ledger_pb2.FindingType.Name(finding.type).removeprefix("FINDING_TYPE_"),
                        finding.resource,
                        finding.description,
                    )
                    for finding in response.findings
                ],
                response.finding_count,
                response.account_count,
                response.entry_count,
                response.checkpoint_number,
            )
            page_token = response.next_page_token
            if not page_token:
                return


async def _notes_over_api(target: str, token: str, *, tls: bool) -> dict[int, str]:
    notes: dict[int, str] = {}
    async with client.connect(target, tls=tls) as channel:
        ledger, page_token = ledger_service_pb2_grpc.LedgerServiceStub(channel), ""
        while True:
            request = ledger_service_pb2.ListCheckpointsRequest(page_size=CHECKPOINTS_PAGE_SIZE, page_token=page_token)
            response = await ledger.ListCheckpoints(request, metadata=client.bearer(token))
            notes |= {checkpoint.number: checkpoint.note for checkpoint in response.checkpoints}
            page_token = response.next_page_token
            if not page_token:
                return notes


def _access_token() -> str:
    """Ask for the token, or read it from standard input where nobody can be asked: never from the arguments."""
    return getpass("Access token: ") if sys.stdin.isatty() else sys.stdin.readline().strip()


def _named(finding: Finding) -> tuple[str, str, str]:
    return finding.type, finding.resource, finding.description
