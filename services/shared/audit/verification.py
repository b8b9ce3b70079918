"""Verification of seals and of the events that they cover."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from services.shared.audit.chain import NO_DIGEST, origin_digest, seal_hash
from services.shared.audit.model import Finding, FindingType, LooseEvent
from services.shared.audit.sealing import root_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from services.shared.audit.model import Seal, SealedEvent, StoredEvent

LATE = timedelta(minutes=5)
"""How much later an event's transaction may commit: longer than any that records one."""


def seal_findings(
    seals: Sequence[Seal], sealed: Sequence[SealedEvent], *, before: Seal | None, before_time: datetime | None
) -> Iterator[Finding]:
    """Verify seals, which follow `before`, and their events, which are in the order of seals and ids.

    `before_time` is the create_time of the last event of `before`.
    """
    by_seal = defaultdict(list)
    for position in sealed:
        by_seal[position.seal].append(position)
    for seal in seals:
        yield from _chain_findings(seal, before)
        found = by_seal[seal.number]
        yield from _event_findings(seal, found, before_time)
        events = [position.stored for position in found if position.stored]
        before, before_time = seal, events[-1].create_time if events else before_time


def known_findings(seal: Seal | None, *, number: int, known_hash: bytes) -> Iterator[Finding]:
    """Compare a seal with what is known of it elsewhere: its hash, when it was verified before."""
    if seal is None:
        yield Finding(FindingType.SEAL_MISSING, f"auditSeals/{number}", "it was verified before, and does not exist")
    elif not known_hash == seal.hash == seal_hash(seal):
        yield Finding(FindingType.SEAL_CHANGED, f"auditSeals/{number}", "it is not the seal that was verified before")


def loose_findings(loose: Sequence[LooseEvent]) -> Iterator[Finding]:
    """Tell of events that no seal covers although time enough has passed."""
    for event in loose:
        resource = f"auditEvents/{event.event_id}"
        if not event.recorded:
            yield Finding(FindingType.EVENT_INSERTED, resource, "it was not recorded by the service")
        elif event.seal is not None:
            yield Finding(FindingType.SEAL_MISSING, f"auditSeals/{event.seal}", f"it covered {resource}")
        else:
            yield Finding(FindingType.EVENT_UNSEALED, resource, "no seal covers it")


def _chain_findings(seal: Seal, before: Seal | None) -> Iterator[Finding]:
    resource = f"auditSeals/{seal.number}"
    expected = before.number + 1 if before else 1
    if seal.number != expected:
        yield Finding(FindingType.SEAL_MISSING, f"auditSeals/{expected}", "it does not exist, and a later one does")
    elif seal.previous != (before.hash if before else NO_DIGEST):
        yield Finding(FindingType.SEAL_CHANGED, resource, "it does not follow from the seal before it")
    if seal.hash != seal_hash(seal):
        yield Finding(FindingType.SEAL_CHANGED, resource, "its hash is not that of what it says")


def _event_findings(seal: Seal, found: Sequence[SealedEvent], before_time: datetime | None) -> Iterator[Finding]:
    resource = f"auditSeals/{seal.number}"
    missing = [position for position in found if position.stored is None]
    events = [position.stored for position in found if position.stored]
    for position in missing:
        yield Finding(FindingType.EVENT_MISSING, f"auditEvents/{position.event_id}", f"it was sealed by {resource}")
    if len(found) < seal.count:
        yield Finding(FindingType.EVENT_MISSING, resource, f"{seal.count - len(found)} of its events are missing")
    elif len(found) > seal.count:
        yield Finding(FindingType.EVENT_INSERTED, resource, f"it sealed {seal.count} events and has {len(found)}")
    elif not missing and (
        (seal.first_id, seal.last_id) != (events[0].event.id, events[-1].event.id) or seal.root != root_of(events)
    ):
        yield Finding(FindingType.EVENT_CHANGED, resource, "its events are not those that it sealed")
    for stored in events:
        yield from _origin_findings(stored)
        if before_time and stored.create_time < before_time - LATE:
            yield Finding(
                FindingType.EVENT_INSERTED,
                f"auditEvents/{stored.event.id}",
                f"it was sealed by {resource}, long after its time",
            )


def _origin_findings(stored: StoredEvent) -> Iterator[Finding]:
    origin = stored.origin
    if origin and stored.event.origin_digest != origin_digest(origin.salt, origin.address, origin.user_agent):
        yield Finding(FindingType.EVENT_CHANGED, f"auditEvents/{stored.event.id}", "its origin is not the recorded one")
