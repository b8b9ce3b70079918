"""Recomputes the chains of accounts from what is stored. Pure: it is given rows, and returns findings."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, cast

from services.payment.ledger import chain
from services.payment.ledger.model import AccountKey, AccountKind, Leg, Transaction
from services.payment.proofs import note
from services.payment.proofs.merkle import head_leaf
from services.payment.proofs.model import Finding, FindingType, Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from services.payment.ledger.model import SourceKind, TransactionType
    from services.payment.proofs.model import (
        ChainPage,
        Checkpoint,
        CheckpointKey,
        StoredAccount,
        StoredEntry,
        StoredLeg,
        StoredTransaction,
    )
    from services.shared.merkle import MerkleTree


@dataclass(slots=True)
class Verifier:
    """Verifies pages of accounts, one after another, and gathers the findings."""

    tree: MerkleTree
    """The heads at the checkpoint of the accounts so far."""
    findings: list[Finding] = field(default_factory=list)
    _digests: dict[str, bytes] = field(default_factory=dict)

    def verify(self, page: ChainPage) -> Progress | None:
        """Verify a page; return how far its incomplete account is verified, if there is one."""
        self._digests = {id_: self._verify_transaction(stored) for id_, stored in page.transactions.items()}
        accounts = {account.id: account for account in page.accounts}
        by_account = {key: list(group) for key, group in groupby(page.entries, key=lambda entry: entry.account_id)}
        for account_id in sorted({*accounts, *by_account, page.incomplete} - {""}):
            start = page.progress if page.progress and page.progress.account_id == account_id else Progress(account_id)
            account = accounts.get(account_id)
            end = self._verify_entries(start, by_account.get(account_id, ()), page.transactions, account)
            if account_id == page.incomplete:
                return end
            if account is None:
                self._found(FindingType.ACCOUNT_MISMATCH, f"accounts/{account_id}", "the account is missing")
            else:
                self._verify_account(account, end)
        return None

    def _verify_transaction(self, stored: StoredTransaction) -> bytes:
        sums: dict[str, int] = {}
        for leg in stored.legs:
            sums[leg.currency] = sums.get(leg.currency, 0) + leg.amount_minor
        problem = ""
        if len(stored.legs) != stored.leg_count:
            problem = f"it has {len(stored.legs)} of {stored.leg_count} entries"
        elif any(sums.values()):
            problem = "its entries do not sum to zero"
        elif stored.description is not None and stored.memo_digest != chain.memo_digest(
            stored.salt or b"", stored.description
        ):
            problem = "its description does not match its digest"
        if problem:
            self._found(FindingType.TRANSACTION_CHANGED, f"transactions/{stored.id}", problem)
        return transaction_digest(stored)

    def _verify_entries(
        self,
        progress: Progress,
        entries: Iterable[StoredEntry],
        transactions: Mapping[str, StoredTransaction],
        account: StoredAccount | None,
    ) -> Progress:
        for entry in entries:
            resource = f"accounts/{entry.account_id}/entries/{entry.sequence}"
            if entry.sequence != progress.sequence + 1:
                missing = f"entries {progress.sequence + 1} to {entry.sequence - 1} are missing"
                self._found(FindingType.ENTRY_MISSING, f"accounts/{entry.account_id}", missing)
            transaction = transactions.get(entry.transaction_id)
            if transaction is None:
                self._found(FindingType.TRANSACTION_CHANGED, resource, "its transaction is missing")
            elif problem := self._entry_problem(progress, entry, transaction):
                self._found(FindingType.ENTRY_CHANGED, resource, problem)
            leaf = account.leaf if account else None
            if leaf and leaf.sequence == entry.sequence and leaf.hash != entry.hash:
                self._found(
                    FindingType.CHECKPOINT_MISMATCH, resource, "it, or an entry before it, changed after the checkpoint"
                )
            # On from what is stored, so that one change is one finding, where it was made.
            progress = Progress(
                entry.account_id,
                entry.sequence,
                entry.balance_after_minor,
                progress.credit_minor + max(entry.amount_minor, 0),
                entry.hash,
                chain.microseconds(entry.create_time),
            )
        return progress

    def _entry_problem(self, progress: Progress, entry: StoredEntry, transaction: StoredTransaction) -> str:
        if entry.balance_after_minor != progress.balance_minor + entry.amount_minor:
            return "its balance does not follow from the entry before"
        time = chain.microseconds(transaction.create_time)
        if chain.microseconds(entry.create_time) != max(time, progress.time_microseconds or time):
            return "its time is not its transaction's"
        expected = chain.entry_hash(
            progress.hash,
            self._digests[entry.transaction_id],
            account_id=entry.account_id,
            sequence=entry.sequence,
            amount_minor=entry.amount_minor,
            balance_after_minor=entry.balance_after_minor,
        )
        return "" if expected == entry.hash else "its hash does not match it, its transaction, or the entry before"

    def _verify_account(self, account: StoredAccount, end: Progress) -> None:
        resource = f"accounts/{account.id}"
        if account.leaf:
            self.tree.append(head_leaf(account.id, account.leaf.sequence, account.leaf.hash))
            if account.leaf.sequence > end.sequence:
                self._found(
                    FindingType.CHECKPOINT_MISMATCH, resource, f"entries up to {account.leaf.sequence} were removed"
                )
        for problem in account_problems(account, end):
            self._found(FindingType.ACCOUNT_MISMATCH, resource, problem)
        if account.held_minor != account.active_holds_minor:
            self._found(FindingType.HOLD_MISMATCH, resource, "its held balance is not the sum of its active holds")

    def _found(self, kind: FindingType, resource: str, description: str) -> None:
        self.findings.append(Finding(kind, resource, description))


def account_problems(account: StoredAccount, end: Progress) -> Iterable[str]:
    """Give what does not agree about an account whose entries end at `end`."""
    key = _key(account.kind, account.owner_id, account.currency)
    last_time = None if account.post_time is None else chain.microseconds(account.post_time)
    if key.id != account.id:
        yield "its ID does not follow from its kind, owner and currency"
    if account.sequence != end.sequence:
        yield f"it counts {account.sequence} entries and has {end.sequence}"
    if account.head != end.hash:
        yield "its head is not the hash of its last entry"
    if account.posted_minor != end.balance_minor:
        yield "its posted balance is not that of its last entry"
    if (account.debit_minor, account.credit_minor) != (end.credit_minor - end.balance_minor, end.credit_minor):
        yield "its debits and credits are not the sums of its entries"
    if last_time != end.time_microseconds:
        yield "its time is not that of its last entry"
    if account.kind == AccountKind.WALLET:
        if account.wallet_state != account.state:
            yield "its state is not that of its wallet"
        if account.posted_minor < account.held_minor:
            yield "its available balance is negative"


def transaction_digest(stored: StoredTransaction) -> bytes:
    """Return the digest of a transaction with the legs that are stored."""
    transaction = Transaction(
        stored.id,
        cast("TransactionType", stored.type),
        cast("SourceKind | None", stored.source_kind),
        stored.source_id,
        stored.reference,
        stored.reference_owner,
    )
    legs = [_leg(leg) for leg in stored.legs]
    return chain.transaction_digest(transaction, legs, memo=stored.memo_digest, create_time=stored.create_time)


def checkpoint_findings(
    checkpoints: Sequence[Checkpoint], keys: Sequence[CheckpointKey], *, before: Checkpoint | None
) -> list[Finding]:
    """Verify the signatures of checkpoints that follow `before`, and their order."""
    verifiers = {key.id: key.verifier for key in keys}
    findings = []
    for checkpoint in checkpoints:
        problem = _checkpoint_problem(checkpoint, verifiers.get(checkpoint.key_id), before)
        if problem:
            resource = f"checkpoints/{checkpoint.number}"
            findings.append(Finding(FindingType.CHECKPOINT_MISMATCH, resource, problem))
        before = checkpoint
    return findings


def key_findings(keys: Sequence[CheckpointKey]) -> list[Finding]:
    """Verify that each key, but the first, is endorsed by the one before it."""
    return [
        Finding(FindingType.CHECKPOINT_MISMATCH, f"checkpointKeys/{key.id}", "it is not endorsed by the key before it")
        for previous, key in pairwise(keys)
        if not note.is_endorsed(key.verifier, key.endorsement or b"", previous.verifier)
    ]


def root_findings(checkpoint: Checkpoint | None, tree: MerkleTree) -> list[Finding]:
    """Verify that a checkpoint signs the heads in the tree."""
    if checkpoint is None:
        return []
    try:
        body = note.read(checkpoint.note)
    except note.NoteInvalid:
        return []  # It is told where checkpoints are verified.
    if (body.size, body.root) == (tree.size, tree.root()):
        return []
    problem = f"its root is not that of the heads of {tree.size} accounts; it signs {body.size}"
    return [Finding(FindingType.CHECKPOINT_MISMATCH, f"checkpoints/{checkpoint.number}", problem)]


def _checkpoint_problem(checkpoint: Checkpoint, verifier: str | None, before: Checkpoint | None) -> str:
    try:
        body = note.read(checkpoint.note)
    except note.NoteInvalid:
        return "it is not a checkpoint"
    if verifier is None or not note.verify(checkpoint.note, verifier):
        return "its signature is invalid"
    if (body.number, body.time) != (checkpoint.number, checkpoint.create_time):
        return "its number or time is not what it signs"
    if body.number != (before.number if before else 0) + 1:
        return "the checkpoint before it is missing"
    if body.previous != note.note_digest(before.note if before else note.NO_NOTE):
        return "it does not follow from the checkpoint before it"
    return ""


def _leg(leg: StoredLeg) -> Leg:
    return Leg(_key(leg.kind, leg.owner_id, leg.currency), leg.amount_minor)


def _key(kind: str, owner_id: str, currency: str) -> AccountKey:
    """Return a key of what is stored, whether it makes sense or not."""
    return AccountKey(cast("AccountKind", kind), owner_id, currency)
