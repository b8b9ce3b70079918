"""How the ledger's writer inserts audit events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.payment.ledger.rows import Kind, columns_of
from services.shared.audit.model import Recorded
from services.shared.audit.store import events, origins, positions

if TYPE_CHECKING:
    from services.shared.audit.model import Origin


def _origin(recorded: Recorded) -> Origin:
    if recorded.origin is None:
        raise ValueError("audit events of the ledger's commands are those of users, which have an origin")
    return recorded.origin


EVENT_COLUMNS = [name for name in events.c.keys() if name != "create_time"]  # noqa: SIM118 - not a dict
AUDIT_EVENTS = Kind(
    type=Recorded,
    table="audit_events",
    columns=columns_of(events, *EVENT_COLUMNS),
    values=lambda recorded: [getattr(recorded.event, name) for name in EVENT_COLUMNS],
)
AUDIT_ORIGINS = Kind(
    type=Recorded,
    table="audit_origins",
    columns=columns_of(origins, "event_id", "salt", "address", "user_agent"),
    values=lambda recorded: (
        recorded.id,
        (origin := _origin(recorded)).salt,
        origin.address,
        origin.user_agent,
    ),
)
AUDIT_POSITIONS = Kind(
    type=Recorded,
    table="audit_positions",
    columns=columns_of(positions, "event_id"),
    values=lambda recorded: (recorded.id,),
)
KINDS = (AUDIT_EVENTS, AUDIT_ORIGINS, AUDIT_POSITIONS)
"""An event is a row of three tables. Only inserted."""
