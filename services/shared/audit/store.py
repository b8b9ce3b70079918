"""The SQL of the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    union_all,
)

from services.shared.audit.model import (
    AuditEvent,
    LooseEvent,
    Origin,
    Outcome,
    Seal,
    SealedEvent,
    StoredEvent,
)
from services.shared.db import Id, Time
from services.shared.keyset import BEFORE_ANY_ID, BEFORE_ANY_TIME, Keyset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.audit.model import EventFilter, EventPosition, Recorded

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


NO_ID = "00000000-0000-0000-0000-000000000000"
SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended('audit_seals', 0))")
NOW = select(func.clock_timestamp())
IS_UNSEALED = select(exists().where(positions.c.seal.is_(None)))
EVENT = (*events.c, origins.c.salt, origins.c.address, origins.c.user_agent)
_event = events.outerjoin(origins, origins.c.event_id == events.c.id)
LIST = select(*EVENT).select_from(_event).order_by(events.c.create_time.desc(), events.c.id.desc())
UNSEALED = (
    select(*EVENT)
    .select_from(_event.join(positions, positions.c.event_id == events.c.id))
    .where(positions.c.seal.is_(None))
    .order_by(events.c.id)
    .limit(bindparam("page_limit"))
)
SEALED = (
    select(positions.c.event_id, positions.c.seal, *EVENT)
    .select_from(positions.outerjoin(_event, positions.c.event_id == events.c.id))
    .where(positions.c.seal.between(bindparam("first"), bindparam("last")))
    .order_by(positions.c.seal, positions.c.event_id)
    .limit(bindparam("page_limit"))
)
SEALS = select(seals).where(seals.c.number > bindparam("after")).order_by(seals.c.number).limit(bindparam("page_limit"))
LAST_SEAL = select(seals).order_by(seals.c.number.desc()).limit(1)
SEAL = select(seals).where(seals.c.number == bindparam("of_number"))
EVENT_TIME = select(events.c.create_time).where(events.c.id == bindparam("of_id"))
SET_SEAL = text("UPDATE audit_positions SET seal = :seal WHERE event_id = ANY(CAST(:ids AS uuid[]))")
MISSING = (
    select(positions.c.event_id)
    .where(positions.c.seal.is_(None), ~exists().where(events.c.id == positions.c.event_id))
    .limit(bindparam("page_limit"))
)
LOOSE = text("""
SELECT events.id, positions.event_id IS NOT NULL AS recorded, positions.seal,
    positions.event_id IS NULL
        OR (positions.seal IS NULL AND events.create_time < coalesce(:before, clock_timestamp()) - interval '1 minute')
        OR (positions.seal IS NOT NULL AND seals.number IS NULL) AS is_loose
FROM (SELECT id, create_time FROM audit_events WHERE id > CAST(:after AS uuid) ORDER BY id LIMIT :page_limit) events
LEFT JOIN audit_positions positions ON positions.event_id = events.id
LEFT JOIN audit_seals seals ON seals.number = positions.seal
ORDER BY events.id
""").bindparams(bindparam("before", type_=Time))
_of_person = or_(
    events.c.user_id == bindparam("of_user"),
    and_(events.c.user_id.is_(None), events.c.target == bindparam("of_target")),
)
"""Events of a person, and those of somebody who did not sign in about a person: attempts to sign in as them."""
_after = tuple_(events.c.create_time, events.c.id) > tuple_(
    bindparam("after_0", type_=Time), bindparam("after_1", type_=Id)
)
# Each half is read from an index of its own, whatever the number of events.
_halves = [
    select(events)
    .where(half, _after)
    .order_by(events.c.create_time, events.c.id)
    .limit(bindparam("page_limit"))
    .subquery()
    for half in (
        events.c.user_id == bindparam("of_user"),
        and_(events.c.user_id.is_(None), events.c.target == bindparam("of_target")),
    )
]
_both = union_all(*(select(half) for half in _halves)).subquery()
OF_PERSON = (
    select(*_both.c, origins.c.salt, origins.c.address, origins.c.user_agent)
    .add_columns(_both.c.create_time.label("key_0"), _both.c.id.label("key_1"))
    .select_from(_both.outerjoin(origins, origins.c.event_id == _both.c.id))
    .order_by(_both.c.create_time, _both.c.id)
    .limit(bindparam("page_limit"))
)
ERASE = delete(origins).where(
    origins.c.event_id.in_(
        select(origins.c.event_id)
        .join(events, events.c.id == origins.c.event_id)
        .where(_of_person)
        .limit(bindparam("page_limit"))
    )
)
UNSUCCESSFUL = events.c.outcome != literal_column(f"'{Outcome.SUCCEEDED}'")
"""The condition of the index of outcomes, for the planner to see."""
ERASED = 5_000


async def insert_events(connection: AsyncConnection, recorded: Sequence[Recorded]) -> None:
    """Insert events, with their origins: one statement each."""
    await connection.execute(INSERT, [_values(each) for each in recorded])


def listing(selected: EventFilter, *, before: EventPosition | None) -> Select[Any]:
    """Return the statement of the events that are selected, before a position, the newest first."""
    columns, wanted = events.c, []
    for column, value in (
        (columns.user_id, selected.user_id),
        (columns.target, selected.target),
        (columns.action, selected.action),
        (columns.outcome, selected.outcome),
    ):
        if value:
            wanted.append(column == value)
    if selected.outcome and selected.outcome is not Outcome.SUCCEEDED:
        wanted.append(UNSUCCESSFUL)
    if selected.start_time:
        wanted.append(columns.create_time >= selected.start_time)
    if selected.end_time:
        wanted.append(columns.create_time < selected.end_time)
    if before:
        position = tuple_(columns.create_time, columns.id)
        wanted.append(position < tuple_(before.create_time, before.id, types=(Time, Id)))
    return LIST.where(*wanted)


class AuditStore:
    """Reads and writes audit events, their origins and their seals."""

    async def list_events(
        self, connection: AsyncConnection, selected: EventFilter, *, before: EventPosition | None, limit: int
    ) -> Sequence[StoredEvent]:
        """Return the events that are selected, before a position, the newest first."""
        return [_stored(row) for row in await connection.execute(listing(selected, before=before).limit(limit))]

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:  # noqa: ARG002 - PersonalData's
        """Return what is recorded of a person, the oldest first."""
        return {"auditEvents": EXPORTED.of(of_user=user_id, of_target=f"users/{user_id}")}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Delete where the events of a person came from, some at a time; return how many.

        The events hold opaque ids only and stay, as do their seals.
        """
        values = {"of_user": user_id, "of_target": f"users/{user_id}", "page_limit": ERASED}
        return (await connection.execute(ERASE, values)).rowcount

    async def is_unsealed(self, connection: AsyncConnection) -> bool:
        """Whether there are events to seal."""
        return bool((await connection.execute(IS_UNSEALED)).scalar_one())

    async def lock_seals(self, connection: AsyncConnection) -> bool:
        """Become the one who seals until the transaction ends; False if someone else is."""
        return bool((await connection.execute(LOCK)).scalar_one())

    async def find_time(self, connection: AsyncConnection) -> datetime:
        """Return the database's time."""
        time: datetime = (await connection.execute(NOW)).scalar_one()
        return time

    async def find_last_seal(self, connection: AsyncConnection) -> Seal | None:
        """Return the last seal."""
        row = (await connection.execute(LAST_SEAL)).one_or_none()
        return _seal(row) if row else None

    async def find_seal(self, connection: AsyncConnection, number: int) -> Seal | None:
        """Return a seal."""
        row = (await connection.execute(SEAL, {"of_number": number})).one_or_none()
        return _seal(row) if row else None

    async def find_event_time(self, connection: AsyncConnection, event_id: str) -> datetime | None:
        """Return when an event was recorded."""
        time: datetime | None = (await connection.execute(EVENT_TIME, {"of_id": event_id})).scalar_one_or_none()
        return time

    async def list_seals(self, connection: AsyncConnection, *, after: int, limit: int) -> Sequence[Seal]:
        """Return the seals after a number, in their order."""
        return [_seal(row) for row in await connection.execute(SEALS, {"after": after, "page_limit": limit})]

    async def list_unsealed(self, connection: AsyncConnection, *, limit: int) -> Sequence[StoredEvent]:
        """Return the events without a seal, in the order of their ids."""
        return [_stored(row) for row in await connection.execute(UNSEALED, {"page_limit": limit})]

    async def list_sealed(
        self, connection: AsyncConnection, *, first: int, last: int, limit: int
    ) -> Sequence[SealedEvent]:
        """Return what the seals from the first to the last cover, in the order of seals and ids."""
        values = {"first": first, "last": last, "page_limit": limit}
        return [
            SealedEvent(event_id=row.event_id, seal=row.seal, stored=_stored(row) if row.id else None)
            for row in await connection.execute(SEALED, values)
        ]

    async def list_missing(self, connection: AsyncConnection, *, limit: int) -> Sequence[str]:
        """Return the ids of events that were recorded, are not sealed, and do not exist."""
        return [row.event_id for row in await connection.execute(MISSING, {"page_limit": limit})]

    async def list_loose(
        self, connection: AsyncConnection, *, after: str, limit: int, before: datetime | None
    ) -> tuple[str, Sequence[LooseEvent]]:
        """Look at events after an id, in the order of ids; return the last id, empty if there are no more.

        Of the events those are returned that no seal covers, although they are a minute older than `before`, or now.
        """
        values = {"after": after or NO_ID, "page_limit": limit, "before": before}
        rows = (await connection.execute(LOOSE, values)).all()
        loose = [LooseEvent(event_id=str(row.id), recorded=row.recorded, seal=row.seal) for row in rows if row.is_loose]
        return str(rows[-1].id) if len(rows) == limit else "", loose

    async def insert_seal(self, connection: AsyncConnection, seal: Seal) -> None:
        """Insert a seal."""
        values = {name: getattr(seal, name) for name in seals.c.keys()}  # noqa: SIM118 - not a dict
        await connection.execute(insert(seals), values)

    async def update_positions(self, connection: AsyncConnection, event_ids: Sequence[str], *, seal: int) -> None:
        """Note which seal covers events."""
        await connection.execute(SET_SEAL, {"seal": seal, "ids": list(event_ids)})


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


def _exported(stored: StoredEvent) -> dict[str, Any]:
    event, origin = stored.event, stored.origin
    return {
        "id": event.id,
        "createTime": stored.create_time,
        "action": event.action,
        "outcome": event.outcome,
        "reason": event.reason,
        "target": event.target,
        "count": event.count,
        "address": origin.address if origin else "",
        "userAgent": origin.user_agent if origin else "",
    }


def _stored(row: Any) -> StoredEvent:
    event = AuditEvent(
        id=row.id,
        action=row.action,
        outcome=row.outcome,
        reason=row.reason,
        user_id=row.user_id,
        session_id=row.session_id,
        service=row.service,
        target=row.target,
        count=row.count,
        trace_id=row.trace_id,
        origin_digest=row.origin_digest,
    )
    origin = Origin(salt=row.salt, address=row.address, user_agent=row.user_agent) if row.salt else None
    return StoredEvent(event=event, create_time=row.create_time, origin=origin)


def _seal(row: Any) -> Seal:
    return Seal(
        number=row.number,
        first_id=row.first_id,
        last_id=row.last_id,
        count=row.count,
        root=row.root,
        previous=row.previous,
        hash=row.hash,
        create_time=row.create_time,
    )


EXPORTED = Keyset(OF_PERSON, (BEFORE_ANY_TIME, BEFORE_ANY_ID), item=lambda row: _exported(_stored(row)))
