"""Erasure of what idempotency keys keep of a person's calls, and of other callers' answers that name the person.

There may be millions of records, and most name nobody by an index. They are looked at in batches, in the order of their
times, and the position is kept between calls: whatever their number, several calls come to the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from services.shared.errors import AnswerErased
from services.shared.idempotency import encode_rejection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

CREATE_TABLE = """
-- How far the idempotency records have been looked at for an erasure that is under way.
CREATE TABLE erasure_scans (
    user_id uuid PRIMARY KEY,
    position timestamptz NOT NULL DEFAULT 'epoch',
    update_time timestamptz NOT NULL DEFAULT now()
);
"""
"""For a migration of a service that takes idempotency keys."""
BATCH = 10_000
"""Records that one transaction looks at, in a fifth of a second or less."""

# A position that nobody moved for so long was left behind, and of what lies before it something may have been answered.
BEGIN = text("""
    INSERT INTO erasure_scans (user_id) VALUES (CAST(:user_id AS uuid))
    ON CONFLICT (user_id) DO UPDATE SET update_time = now(), position = CASE
        WHEN erasure_scans.update_time < now() - interval '15 minutes' THEN 'epoch' ELSE erasure_scans.position
    END
    RETURNING position
""")
ADVANCE = text("UPDATE erasure_scans SET position = :last WHERE user_id = CAST(:user_id AS uuid)")
END = text("DELETE FROM erasure_scans WHERE user_id = CAST(:user_id AS uuid)")
DELETE_OWN = text("""
    DELETE FROM idempotency_records WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM idempotency_records WHERE principal_id = ANY(CAST(:principals AS text[])) LIMIT :batch
    ))
""")
# Records of one transaction have the same time, and are in the same batch.
BATCH_END = text("""
    SELECT count(*) AS count, max(create_time) AS last FROM (
        SELECT create_time FROM idempotency_records WHERE create_time > CAST(:after AS timestamptz)
        ORDER BY create_time LIMIT :batch
    ) AS batch
""")
REPLACE = """
    UPDATE idempotency_records SET response = NULL, rejection = :rejection
    WHERE create_time > CAST(:after AS timestamptz) AND create_time <= CAST(:last AS timestamptz)
        AND (position(convert_to(:user_id, 'UTF8') IN response) > 0 OR {others})
"""


class KeyedAnswers:
    """Answers that idempotency keys keep.

    The person's own are deleted. In place of another caller's that names the person stands a refusal: the key of a call
    that had its effect must not have it again.
    """

    def __init__(self, *, callers: Sequence[str] = (), others: str = "false", batch: int = BATCH) -> None:
        """`callers` are the services that act for users; `others` is SQL of a record that concerns :user_id as well."""
        self._callers = tuple(callers)
        self._replace = text(REPLACE.format(others=others))
        self._batch = batch

    async def export_person(self, _connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:  # noqa: ARG002 - PersonalData's
        """Return nothing: the answers are copies of what other resources export."""
        return {}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Delete some of the person's answers, or look at a batch of the others; return how many they were.

        Returns 0 once all have been looked at; the next call begins again.
        """
        principals = [f"user:{user_id}", *(f"service:{caller}/user:{user_id}" for caller in self._callers)]
        own = await connection.execute(DELETE_OWN, {"principals": principals, "batch": self._batch})
        return own.rowcount or await self._replace_batch(connection, user_id)

    async def _replace_batch(self, connection: AsyncConnection, user_id: str) -> int:
        after = (await connection.execute(BEGIN, {"user_id": user_id})).scalar_one()
        count, last = (await connection.execute(BATCH_END, {"after": after, "batch": self._batch})).one()
        if count:
            values = {"user_id": user_id, "after": after, "last": last}
            await connection.execute(self._replace, {**values, "rejection": encode_rejection(AnswerErased())})
        if count < self._batch:
            await connection.execute(END, {"user_id": user_id})
            return 0
        await connection.execute(ADVANCE, {"user_id": user_id, "last": last})
        return int(count)
