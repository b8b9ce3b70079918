"""Verification of the ledger, and its checkpoints."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.payment.errors import LedgerInconsistent
from services.payment.proofs import note
from services.payment.proofs.comparisons import COMPARISONS
from services.payment.proofs.merkle import head_leaf
from services.payment.proofs.model import (
    ChainPage,
    Checkpoint,
    CheckpointKey,
    Finding,
    KeyState,
    Position,
    Progress,
    Verified,
)
from services.payment.proofs.publication import PublishedCheckpoint
from services.payment.proofs.store import SNAPSHOT
from services.payment.proofs.verification import Verifier, checkpoint_findings, key_findings, root_findings
from services.shared.db import ID_MAX
from services.shared.ids import new_id
from services.shared.merkle import MerkleTree
from services.shared.money import INT64_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.proofs.model import AccountHeads, ListedEntry
    from services.payment.proofs.publication import CheckpointFile
    from services.payment.proofs.store import ProofStore
    from services.shared.db import Database
    from services.shared.encryption import Encryption
    from services.shared.pagination import Page, PageTokens

logger = logging.getLogger(__name__)

DEFAULT_ROWS, MAX_ROWS = 1_000, 5_000
"""Rows that one call verifies."""
MAX_ACCOUNTS = 250
"""Accounts that are read at once: each may have an entry only, or as many as a call verifies."""
MAX_FINDINGS = 25
HEADS = 2_000
"""Heads that are read at once for a checkpoint."""
FIRST_COMPARISON = 2
PUBLISHED = 500


@dataclass(slots=True)
class Report:
    """What one call has verified so far."""

    findings: list[Finding] = field(default_factory=list)
    account_count: int = 0
    entry_count: int = 0
    row_count: int = 0
    checkpoint: Checkpoint | None = None


class VerificationOperations:
    """Verifies chains, balances and checkpoints, a bounded number of rows at a time, and lists entries.

    A process verifies on one connection at a time, and the others stay free for calls.
    """

    def __init__(self, *, database: Database, store: ProofStore, pages: PageTokens) -> None:
        self._database = database
        self._store = store
        self._pages = pages
        self._one_at_a_time = asyncio.Semaphore()

    async def verify_chain(self, *, page_size: int, page_token: str) -> Verified:
        """Verify up to `page_size` rows from where the token says; a token is returned while there are more.

        Raises PageTokenInvalid.
        """
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to={"method": "VerifyChain"})
        position = _position(request.cursor) if request.cursor else Position()
        verified, rest = await self.verify(position=position, limit=min(page_size or DEFAULT_ROWS, MAX_ROWS))
        return replace(verified, next_page_token=request.token(_cursor(rest)) if rest else "")

    async def verify(self, *, position: Position, limit: int = MAX_ROWS) -> tuple[Verified, Position | None]:
        """Verify up to about `limit` rows, as of one moment; return what was found, and where to go on."""

        async def work(connection: AsyncConnection) -> tuple[Report, Position | None]:
            await connection.execute(SNAPSHOT)
            report, at = Report(), position
            while report.row_count < limit:
                following = await self._advance(connection, at, report, limit - report.row_count)
                if following is None:
                    return report, None
                at = following
            return report, at

        async with self._one_at_a_time:
            report, rest = await self._database.transaction(work, computes=True)
        return _verified(report), rest

    async def list_entries(
        self, *, account_id: str, transaction_id: str, page_size: int, page_token: str
    ) -> Page[ListedEntry]:
        """Return a page of entries: of a transaction, of an account, or all; the newest first.

        Raises PageTokenInvalid.
        """
        bound_to = {"method": "ListEntries", "account": account_id, "transaction": transaction_id}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        async with self._database.reading() as connection:
            found = await self._store.list_newest_entries(
                connection, request, account_id=account_id, transaction_id=transaction_id
            )
        return request.page(
            found, lambda listed: [listed.entry.transaction_id, listed.entry.account_id, listed.entry.sequence]
        )

    async def _advance(self, connection: AsyncConnection, at: Position, report: Report, limit: int) -> Position | None:
        if at.phase == 0:
            return await self._verify_checkpoints(connection, at, report, limit)
        if at.phase == 1:
            return await self._verify_accounts(connection, at, report, limit)
        return await self._compare(connection, at, report, limit)

    async def _verify_checkpoints(
        self, connection: AsyncConnection, at: Position, report: Report, limit: int
    ) -> Position:
        keys = await self._store.list_keys(connection)
        before = await self._store.find_checkpoint(connection, at.checkpoint) if at.checkpoint else None
        found = await self._store.list_checkpoints(connection, after=at.checkpoint, limit=limit)
        report.findings += checkpoint_findings(found, keys, before=before)
        if not at.checkpoint:
            report.findings += key_findings(keys)
        report.row_count += len(found)
        last = found[-1].number if found else at.checkpoint
        return Position(phase=0 if len(found) == limit else 1, checkpoint=last)

    async def _verify_accounts(self, connection: AsyncConnection, at: Position, report: Report, limit: int) -> Position:
        report.checkpoint = await self._store.find_checkpoint(connection, at.checkpoint) if at.checkpoint else None
        page, last = await self._read_chains(connection, at, limit)
        verifier = Verifier(MerkleTree(at.leaf_count, list(at.roots)))
        # In a thread, so that other calls go on meanwhile.
        progress = await asyncio.to_thread(verifier.verify, page)
        report.findings += verifier.findings
        complete = [account.id for account in page.accounts if account.id != page.incomplete]
        report.account_count += len(complete)
        report.entry_count += len(page.entries)
        report.row_count += len(page.accounts) + len(page.entries)
        if not progress and last == ID_MAX:
            report.findings += root_findings(report.checkpoint, verifier.tree)
            return Position(phase=FIRST_COMPARISON, checkpoint=at.checkpoint)
        return Position(
            phase=1,
            after=last if not page.incomplete else max(complete, default=at.after),
            checkpoint=at.checkpoint,
            progress=progress,
            leaf_count=verifier.tree.size,
            roots=tuple(verifier.tree.roots),
        )

    async def _read_chains(self, connection: AsyncConnection, at: Position, limit: int) -> tuple[ChainPage, str]:
        """Return the next accounts with their entries, and the ID up to which these are all."""
        accounts = await self._store.list_accounts(
            connection, after=at.after, checkpoint=at.checkpoint, limit=MAX_ACCOUNTS
        )
        last = accounts[-1].id if len(accounts) == MAX_ACCOUNTS else ID_MAX
        start, sequence = (at.progress.account_id, at.progress.sequence) if at.progress else (at.after, INT64_MAX)
        if at.progress:  # One that was opened before it since the last page has entries that are not read any more.
            accounts = [account for account in accounts if account.id >= start]
        found = await self._store.list_entries(
            connection, account_id=start, sequence=sequence, last=last, limit=limit + 1
        )
        entries, incomplete = found[:limit], ""
        if len(found) > limit:
            incomplete = last = found[limit].account_id
            accounts = [account for account in accounts if account.id <= incomplete]
        ids = list({entry.transaction_id for entry in entries})
        transactions = await self._store.list_transactions(connection, ids)
        return ChainPage(accounts, entries, transactions, at.progress, incomplete), last

    async def _compare(self, connection: AsyncConnection, at: Position, report: Report, limit: int) -> Position | None:
        comparison = COMPARISONS[at.phase - FIRST_COMPARISON]
        rows = await self._store.list_problems(connection, comparison, after=at.after, limit=limit)
        report.findings += [
            Finding(comparison.type, f"{comparison.collection}/{row.id}", row.description)
            for row in rows
            if row.description
        ]
        report.row_count += len(rows)
        if len(rows) == limit:
            return replace(at, after=rows[-1].id)
        following = at.phase + 1
        return replace(at, phase=following, after="") if following < FIRST_COMPARISON + len(COMPARISONS) else None


class CheckpointOperations:
    """Signs checkpoints and keeps them, in the database and outside; a process makes one at a time."""

    def __init__(
        self,
        *,
        database: Database,
        store: ProofStore,
        pages: PageTokens,
        encryption: Encryption,
        origin: str,
        key_lifetime: timedelta,
        file: CheckpointFile | None,
    ) -> None:
        self._database = database
        self._store = store
        self._pages = pages
        self._encryption = encryption
        self._origin = origin
        self._key_lifetime = key_lifetime
        self._file = file
        self._one_at_a_time = asyncio.Semaphore()

    async def create_checkpoint(self) -> Checkpoint:
        """Sign the heads of all accounts as of now, and publish; return the last checkpoint if nothing was posted.

        Raises LedgerInconsistent if what the last checkpoint covers has changed.
        """
        async with self._one_at_a_time:
            checkpoint, created = await self._database.transaction(self._create, computes=True)
        if created:
            body = note.read(checkpoint.note)
            logger.info(
                "ledger checkpoint",
                extra={"number": body.number, "accounts": body.size, "root": body.root.hex(), "note": checkpoint.note},
            )
        await self.publish()
        return checkpoint

    async def publish(self) -> None:
        """Append to the checkpoint file the checkpoints that it lacks; an error is logged."""
        if self._file is None:
            return
        try:
            last = await asyncio.to_thread(self._file.last_number)
            while True:
                async with self._database.reading() as connection:
                    keys = {key.id: key for key in await self._store.list_keys(connection)}
                    missing = await self._store.list_checkpoints(connection, after=last, limit=PUBLISHED)
                if not missing:
                    return
                lines = [PublishedCheckpoint.of(checkpoint, keys[checkpoint.key_id]) for checkpoint in missing]
                await asyncio.to_thread(self._file.append, lines)
                last = missing[-1].number
        except OSError as error:
            logger.error("checkpoint file could not be written", extra={"error": str(error)})  # noqa: TRY400 - its text says all

    async def list_checkpoints(self, *, page_size: int, page_token: str) -> Page[Checkpoint]:
        """Return a page of checkpoints, the newest first. Raises PageTokenInvalid."""
        bound_to = {"method": "ListCheckpoints"}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        before = request.cursor[0] if request.cursor else INT64_MAX
        async with self._database.reading() as connection:
            found = await self._store.list_newest_checkpoints(connection, before=before, limit=request.limit)
        return request.page(found, lambda checkpoint: [checkpoint.number])

    async def list_checkpoint_keys(self) -> Sequence[CheckpointKey]:
        """Return all keys that have signed checkpoints, the oldest first."""
        async with self._database.reading() as connection:
            return await self._store.list_keys(connection)

    async def _create(self, connection: AsyncConnection) -> tuple[Checkpoint, bool]:
        await connection.execute(SNAPSHOT)
        last = await self._store.find_checkpoint(connection)
        before, tree = MerkleTree(), MerkleTree()
        changed: list[tuple[str, str]] = []  # Ranges of accounts in which heads have changed.
        after = ""
        while True:
            heads = await self._store.list_heads(
                connection, after=after, checkpoint=last.number if last else 0, limit=HEADS
            )
            last_id = heads[-1].account_id if heads else after
            if await asyncio.to_thread(_add_heads, heads, before, tree):
                changed.append((after, last_id))
            if len(heads) < HEADS:
                break
            after = last_id
        if last is not None:
            body = note.read(last.note)
            if (body.size, body.root) != (before.size, before.root()):
                raise LedgerInconsistent
            if not changed:
                return last, False
        now = await self._store.find_now(connection)
        key = await self._find_or_make_key(connection, now)
        body = note.CheckpointBody(
            origin=key.verifier.split("+")[0],
            size=tree.size,
            root=tree.root(),
            number=last.number + 1 if last else 1,
            time=now,
            previous=note.note_digest(last.note if last else note.NO_NOTE),
        )
        checkpoint = Checkpoint(body.number, key.id, note.sign(body, self._private_key(key)), body.time)
        await self._store.insert_checkpoint(connection, checkpoint)
        for first, last_id in changed:
            await self._store.insert_heads(connection, checkpoint.number, after=first, last=last_id)
        return checkpoint, True

    async def _find_or_make_key(self, connection: AsyncConnection, now: datetime) -> CheckpointKey:
        """Return the key that signs: the active one, or the next one once it is too old."""
        active = await self._store.find_active_key(connection)
        if active is not None and now - active.create_time < self._key_lifetime:
            return active
        private_key = Ed25519PrivateKey.generate()
        key_id = new_id()
        verifier = note.verifier_key(self._origin, private_key.public_key().public_bytes_raw())
        endorsement = note.endorse(verifier, self._private_key(active)) if active is not None else None
        sealed = self._encryption.encrypt(private_key.private_bytes_raw(), row_id=key_id)
        key = CheckpointKey(key_id, KeyState.ACTIVE, verifier, endorsement, now, sealed)
        await self._store.insert_active_key(connection, key)
        logger.info("checkpoint key created", extra={"key_id": key_id, "verifier_key": verifier})
        return key

    def _private_key(self, key: CheckpointKey) -> Ed25519PrivateKey:
        sealed = key.private_key_sealed or b""
        return Ed25519PrivateKey.from_private_bytes(self._encryption.decrypt(sealed, row_id=key.id))


def _add_heads(heads: Sequence[AccountHeads], before: MerkleTree, tree: MerkleTree) -> bool:
    """Add heads to the trees of the last checkpoint and of the next one; return whether any has changed.

    Raises LedgerInconsistent if an entry that the last checkpoint covers has changed.
    """
    changed = False
    for head in heads:
        if head.before is not None:
            before.append(head_leaf(head.account_id, head.before.sequence, head.before.hash))
            if head.hash_there != head.before.hash:
                raise LedgerInconsistent
        if head.now.sequence:
            tree.append(head_leaf(head.account_id, head.now.sequence, head.now.hash))
            changed = changed or head.now != head.before
    return changed


def _verified(report: Report) -> Verified:
    return Verified(
        findings=report.findings[:MAX_FINDINGS],
        finding_count=len(report.findings),
        account_count=report.account_count,
        entry_count=report.entry_count,
        checkpoint=report.checkpoint,
    )


def _cursor(at: Position) -> list[object]:
    done = at.progress
    progress = done and [
        done.account_id,
        done.sequence,
        done.balance_minor,
        done.credit_minor,
        done.hash.hex(),
        done.time_microseconds,
    ]
    return [at.phase, at.after, at.checkpoint, progress, at.leaf_count, b"".join(at.roots).hex()]


def _position(cursor: Sequence[object]) -> Position:
    phase, after, checkpoint, progress, leaf_count, roots = cursor
    digests = bytes.fromhex(str(roots))
    done = None
    if isinstance(progress, list):
        account_id, sequence, balance, credit, head, time = progress
        done = Progress(account_id, sequence, balance, credit, bytes.fromhex(head), time)
    return Position(
        phase=int(str(phase)),
        after=str(after),
        checkpoint=int(str(checkpoint)),
        progress=done,
        leaf_count=int(str(leaf_count)),
        roots=tuple(digests[start : start + 32] for start in range(0, len(digests), 32)),
    )
