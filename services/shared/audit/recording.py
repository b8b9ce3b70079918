"""Recording of audit events, in the transaction of what they tell of. It locks nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from services.shared.audit.chain import origin_digest
from services.shared.audit.model import AuditEvent, Origin, Outcome, Recorded
from services.shared.audit.store import insert_events
from services.shared.ids import new_id
from services.shared.principal import current_request

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.audit.model import Action
    from services.shared.db import Database
    from services.shared.errors import DomainError
    from services.shared.principal import Principal

SALT_BYTES = 16


async def record(
    connection: AsyncConnection,
    *,
    action: Action,
    target: str = "",
    outcome: Outcome = Outcome.SUCCEEDED,
    reason: str = "",
    token_user_id: str = "",
) -> None:
    """Record an event of the current call in the connection's open transaction.

    It is recorded if what it tells of is committed. Outside of a call (in a job, on the command line) nobody stands
    behind it. `target` is a resource name of opaque ids, "users/ID": never a name, an address or another text of a
    person. `reason` is that of the error, unless it succeeded. `token_user_id` is the user of a token in the request,
    who acts where nobody is signed in: so the event is theirs, and its origin is erased with them.
    """
    event = new_event(action=action, target=target, outcome=outcome, reason=reason, token_user_id=token_user_id)
    await insert_events(connection, [event])


async def record_failure(database: Database, *, action: Action, error: DomainError, target: str = "") -> None:
    """Record an attempt that failed, in a transaction of its own: what was attempted has left nothing."""

    async def work(connection: AsyncConnection) -> None:
        await record(connection, action=action, target=target, outcome=Outcome.FAILED, reason=error.reason)

    await database.transaction(work)


def new_event(
    *,
    action: Action,
    target: str = "",
    outcome: Outcome = Outcome.SUCCEEDED,
    reason: str = "",
    count: int = 1,
    principal: Principal | None = None,
    token_user_id: str = "",
) -> Recorded:
    """Return an event, to be inserted by whoever owns the transaction.

    Who did it is the caller of the current call, or outside of calls `principal`.
    """
    request = current_request()
    principal = request.principal if request else principal
    origin = None
    if principal is not None and not principal.service:
        user_agent = request.user_agent if request else ""
        origin = Origin(salt=os.urandom(SALT_BYTES), address=principal.address, user_agent=user_agent)
    event = AuditEvent(
        id=new_id(),
        action=action,
        outcome=outcome,
        reason=reason,
        user_id=(principal.user_id if principal else "") or token_user_id or None,
        session_id=(principal.session_id or None) if principal else None,
        service=principal.service if principal else "",
        target=target,
        count=count,
        trace_id=request.trace_id if request and request.traceparent else "",
        origin_digest=origin_digest(origin.salt, origin.address, origin.user_agent) if origin else None,
    )
    return Recorded(event=event, origin=origin)
