"""The SQL of the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text, text

from services.shared.db import Id, Time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.audit.model import Recorded

metadata = MetaData()
events = Table(
    "audit_events",
    metadata,
    Column("id", Id, primary_key=True),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("user_id", Id),
    Column("session_id", Id),
    Column("service", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("origin_digest", LargeBinary),
    Column("create_time", Time, nullable=False),
)
origins = Table(
    "audit_origins",
    metadata,
    Column("event_id", Id, primary_key=True),
    Column("salt", LargeBinary, nullable=False),
    Column("address", Text, nullable=False),
    Column("user_agent", Text, nullable=False),
    Column("create_time", Time, nullable=False),
)
positions = Table("audit_positions", metadata, Column("event_id", Id, primary_key=True), Column("seal", BigInteger))
seals = Table(
    "audit_seals",
    metadata,
    Column("number", BigInteger, primary_key=True),
    Column("first_id", Id, nullable=False),
    Column("last_id", Id, nullable=False),
    Column("count", Integer, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("previous", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("create_time", Time, nullable=False),
)

INSERT = text("""
WITH event AS (
    INSERT INTO audit_events (id, action, outcome, reason, user_id, session_id, service, target, count, trace_id,
        origin_digest)
    VALUES (CAST(:id AS uuid), :action, :outcome, :reason, CAST(:user_id AS uuid), CAST(:session_id AS uuid),
        :service, :target, :count, :trace_id, CAST(:origin_digest AS bytea))
), origin AS (
    INSERT INTO audit_origins (event_id, salt, address, user_agent)
    SELECT CAST(:id AS uuid), CAST(:salt AS bytea), CAST(:address AS text), CAST(:user_agent AS text)
    WHERE CAST(:salt AS bytea) IS NOT NULL
)
INSERT INTO audit_positions (event_id) VALUES (CAST(:id AS uuid))
""")


class AuditStore:
    """Reads and writes audit events, their origins and their seals."""

    async def insert_events(self, connection: AsyncConnection, recorded: Sequence[Recorded]) -> None:
        """Insert events, with their origins: one statement each."""
        await connection.execute(INSERT, [_values(each) for each in recorded])


def _values(recorded: Recorded) -> dict[str, Any]:
    event, origin = recorded.event, recorded.origin
    return {
        "id": event.id,
        "action": event.action,
        "outcome": event.outcome,
        "reason": event.reason,
        "user_id": event.user_id,
        "session_id": event.session_id,
        "service": event.service,
        "target": event.target,
        "count": event.count,
        "trace_id": event.trace_id,
        "origin_digest": event.origin_digest,
        "salt": origin.salt if origin else None,
        "address": origin.address if origin else None,
        "user_agent": origin.user_agent if origin else None,
    }
