"""Conversion between the audit log and its messages, which all services share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from azora.audit.v1 import audit_event_pb2 as pb

from services.shared.audit.model import (
    AuditEvent,
    EventFilter,
    EventPosition,
    Finding,
    FindingType,
    Origin,
    Outcome,
    StoredEvent,
    Verified,
)
from services.shared.convert import timestamp, to_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.timestamp_pb2 import Timestamp

OUTCOMES = {f"AUDIT_OUTCOME_{outcome}": outcome for outcome in Outcome}
NO_SALT = b""


class SelectingRequest(Protocol):
    """A request that selects events: each service has one of its own, with the same fields."""

    user_id: str
    target: str
    action: str

    @property
    def outcome(self) -> Any: ...  # noqa: D102 - of the enumeration above
    @property
    def start_time(self) -> Timestamp: ...  # noqa: D102 - as above
    @property
    def end_time(self) -> Timestamp: ...  # noqa: D102 - as above
    def HasField(self, field_name: Any, /) -> bool: ...  # noqa: D102, N802 - protobuf's


def event_filter(request: SelectingRequest) -> EventFilter:
    """Return what a request selects. Raises ValidationFailed."""
    return EventFilter(
        user_id=request.user_id,
        target=request.target,
        action=request.action,
        outcome=OUTCOMES.get(pb.AuditOutcome.Name(request.outcome)),
        start_time=to_time(request.start_time, field="startTime") if request.HasField("start_time") else None,
        end_time=to_time(request.end_time, field="endTime") if request.HasField("end_time") else None,
    )


def position(time: Timestamp, event_id: str) -> EventPosition | None:
    """Return where a list begins; None without an event."""
    return EventPosition(create_time=to_time(time, field="beforeTime"), id=event_id) if event_id else None


def known_seals(texts: Iterable[str]) -> dict[str, tuple[int, bytes]]:
    """Return the numbers and hashes of seals by their services, from "service:number:hash". Raises ValueError."""
    seals = (text.split(":") for text in texts)
    return {service: (int(number), bytes.fromhex(digest)) for service, number, digest in seals}


def audit_event(stored: StoredEvent, *, source: str) -> pb.AuditEvent:
    """Return the message of an event that a service recorded. What somebody made of an outcome is unspecified."""
    event, origin = stored.event, stored.origin
    name = f"AUDIT_OUTCOME_{event.outcome}"
    return pb.AuditEvent(
        id=event.id,
        source_service=source,
        action=event.action,
        outcome=pb.AuditOutcome.Value(name) if name in OUTCOMES else pb.AUDIT_OUTCOME_UNSPECIFIED,
        reason=event.reason,
        user_id=event.user_id or "",
        session_id=event.session_id or "",
        calling_service=event.service,
        target=event.target,
        count=event.count,
        trace_id=event.trace_id,
        address=origin.address if origin else "",
        user_agent=origin.user_agent if origin else "",
        create_time=timestamp(stored.create_time),
    )


def stored_event(message: pb.AuditEvent) -> StoredEvent:
    """Return the event of another service's message, which tells nothing of salts and digests."""
    return StoredEvent(
        event=AuditEvent(
            id=message.id,
            action=message.action,
            outcome=pb.AuditOutcome.Name(message.outcome).removeprefix("AUDIT_OUTCOME_"),
            reason=message.reason,
            user_id=message.user_id or None,
            session_id=message.session_id or None,
            service=message.calling_service,
            target=message.target,
            count=message.count,
            trace_id=message.trace_id,
        ),
        create_time=to_time(message.create_time, field="createTime"),
        origin=Origin(salt=NO_SALT, address=message.address, user_agent=message.user_agent),
    )


def audit_chain(verified: Verified, *, service: str) -> pb.AuditChain:
    """Return the message of what was verified of a service's log."""
    return pb.AuditChain(
        service=service,
        findings=[
            pb.AuditFinding(
                type=pb.AuditFindingType.Value(f"AUDIT_FINDING_TYPE_{found.type}"),
                resource=found.resource,
                description=found.description,
            )
            for found in verified.findings
        ],
        finding_count=verified.finding_count,
        seal_count=verified.seal_count,
        event_count=verified.event_count,
        last_seal_number=verified.last_seal_number,
        last_seal_hash=verified.last_seal_hash,
        verified_seal_number=verified.verified_seal_number,
        verified_seal_hash=verified.verified_seal_hash,
    )


def verified_chain(message: pb.AuditChain, *, next_page_token: str) -> Verified:
    """Return what another service has verified."""
    return Verified(
        findings=[
            Finding(
                FindingType(pb.AuditFindingType.Name(found.type).removeprefix("AUDIT_FINDING_TYPE_")),
                found.resource,
                found.description,
            )
            for found in message.findings
        ],
        finding_count=message.finding_count,
        seal_count=message.seal_count,
        event_count=message.event_count,
        last_seal_number=message.last_seal_number,
        last_seal_hash=message.last_seal_hash,
        verified_seal_number=message.verified_seal_number,
        verified_seal_hash=message.verified_seal_hash,
        next_page_token=next_page_token,
    )
