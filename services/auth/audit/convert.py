"""Conversion of the audit logs of all services to messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import audit_service_pb2 as pb

from services.shared.audit import convert

if TYPE_CHECKING:
    from services.auth.audit.model import EventPage, VerifiedChains


def list_events_response(found: EventPage) -> pb.ListEventsResponse:
    """Return a page of events."""
    return pb.ListEventsResponse(
        events=[convert.audit_event(listed.stored, source=listed.source) for listed in found.page.items],
        unreachable=found.unreachable,
        next_page_token=found.page.next_page_token,
    )


def verify_chain_response(verified: VerifiedChains) -> pb.VerifyChainResponse:
    """Return the answer of one step of verification."""
    return pb.VerifyChainResponse(
        chains=[convert.audit_chain(chain, service=name) for name, chain in verified.chains.items()],
        unreachable=verified.unreachable,
        next_page_token=verified.next_page_token,
    )
