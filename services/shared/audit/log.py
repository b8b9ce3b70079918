"""Recording of audit events."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from services.shared.audit.chain import origin_digest
from services.shared.audit.model import AuditEvent, Origin, Outcome, Recorded
from services.shared.ids import new_id
from services.shared.principal import current_request

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.audit.model import Action
    from services.shared.audit.store import AuditStore
    from services.shared.db import Database
    from services.shared.errors import DomainError
    from services.shared.principal import Principal

SALT_BYTES = 16


class AuditLog:
    """Records what happens in a service's own database, in the transaction of what it records. It locks nothing."""

    def __init__(self, *, database: Database, store: AuditStore) -> None:
        self._database = database
        self._store = store

    async def record(
        self,
        connection: AsyncConnection,
        *,
        action: Action,
        principal: Principal | None,
        target: str = "",
        outcome: Outcome = Outcome.SUCCEEDED,
        reason: str = "",
    ) -> None:
        """Record an event in the connection's open transaction: it is recorded if what it tells of is committed.

        `principal` is the caller; None for a job or the command line. `target` is a resource name of opaque ids:
        "users/ID". Neither may hold a name, an address or a text of a person.
        """
        recorded = new_event(action=action, principal=principal, target=target, outcome=outcome, reason=reason)
        await self._store.insert_events(connection, [recorded])

    async def record_failure(
        self, *, action: Action, principal: Principal | None, error: DomainError, target: str = ""
    ) -> None:
        """Record an attempt that failed, in a transaction of its own: what was attempted has left nothing."""

        async def work(connection: AsyncConnection) -> None:
            await self.record(
                connection,
                action=action,
                principal=principal,
                target=target,
                outcome=Outcome.FAILED,
                reason=error.reason,
            )

        await self._database.transaction(work)

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> dict[str, Any]:
        """Return what is recorded of a person, for their export."""
        return {
            "auditEvents": [
                {
                    "id": stored.event.id,
                    "createTime": stored.create_time.isoformat(),
                    "action": stored.event.action,
                    "outcome": stored.event.outcome,
                    "reason": stored.event.reason,
                    "target": stored.event.target,
                    "count": stored.event.count,
                    "address": stored.origin.address if stored.origin else "",
                    "userAgent": stored.origin.user_agent if stored.origin else "",
                }
                for stored in await self._store.list_of_person(connection, user_id)
            ]
        }

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> None:
        """Erase where a person's events came from. The events hold opaque ids only and stay, as do their seals."""
        await self._store.delete_origins(connection, user_id)


def new_event(
    *,
    action: Action,
    principal: Principal | None,
    target: str = "",
    outcome: Outcome = Outcome.SUCCEEDED,
    reason: str = "",
    count: int = 1,
) -> Recorded:
    """Return an event of the current call, to be inserted by whoever owns the transaction."""
    request = current_request()
    origin = None
    if principal is not None and principal.address:
        user_agent = request.user_agent if request else ""
        origin = Origin(salt=os.urandom(SALT_BYTES), address=principal.address, user_agent=user_agent)
    event = AuditEvent(
        id=new_id(),
        action=action,
        outcome=outcome,
        reason=reason,
        user_id=(principal.user_id or None) if principal else None,
        session_id=(principal.session_id or None) if principal else None,
        service=principal.service if principal else "",
        target=target,
        count=count,
        trace_id=request.trace_id if request and request.traceparent else "",
        origin_digest=origin_digest(origin.salt, origin.address, origin.user_agent) if origin else None,
    )
    return Recorded(event=event, origin=origin)
