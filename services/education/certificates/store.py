"""The SQL of certificates and of their revocation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, and_, bindparam, func, select, text

from services.education.certificates.model import Certificate
from services.education.courses.store import course_revisions
from services.education.people.store import people
from services.shared.db import Id, Time
from services.shared.keyset import Keyset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.pagination import PageRequest

TABLES = MetaData()
certificates = Table(
    "certificates",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("course_id", Id, nullable=False),
    Column("course_revision", Integer, nullable=False),
    Column("status_index", BigInteger, nullable=False),
    Column("issue_time", Time, nullable=False),
    Column("revoke_time", Time),
    Column("revoke_reason", Text, nullable=False),
)

LIST_BITS = 131_072
"""Certificates in one status list: the least that Bitstring Status List 1.0 allows, so that a list stays small."""
INDEX_MAX = 2**63 - 1
c, r = certificates.c, course_revisions.c
_revision = and_(r.course_id == c.course_id, r.number == c.course_revision)
SELECT = (
    select(
        certificates,
        r.title.label("course_title"),
        r.description.label("course_description"),
        func.coalesce(people.c.name, "").label("learner_name"),
    )
    .join_from(certificates, course_revisions, _revision)
    .outerjoin(people, people.c.user_id == c.user_id)
)
FIND = SELECT.where(c.id == bindparam("id"))
LOCK = FIND.with_for_update(of=certificates, key_share=True)
LIST = (
    SELECT.where(c.user_id == bindparam("user_id"), c.status_index < bindparam("before"))
    .order_by(c.status_index.desc())
    .limit(bindparam("count"))
)
EXPORT = (
    select(c.id, c.course_id, r.title.label("course_title"), c.course_revision, c.issue_time)
    .add_columns(c.revoke_time, c.revoke_reason)
    .join_from(certificates, course_revisions, _revision)
    .where(c.user_id == bindparam("user_id"))
)
EXPORTED = Keyset.by(EXPORT, {c.status_index: -1})
# The lists are locked in one order.
_REVOKE = """
WITH revoked AS (
    UPDATE certificates SET revoke_time = coalesce(revoke_time, now()), revoke_reason = :reason
    WHERE {condition} RETURNING status_index
)
INSERT INTO status_lists (number, version)
SELECT DISTINCT status_index / :list_bits, 1 FROM revoked ORDER BY 1
ON CONFLICT (number) DO UPDATE SET version = status_lists.version + 1
"""
REVOKE = text(_REVOKE.format(condition="id = CAST(:id AS uuid) AND revoke_time IS NULL"))
REVOKE_OF = text(
    _REVOKE.format(condition="user_id = CAST(:user_id AS uuid) AND (revoke_time IS NULL OR revoke_reason <> '')")
)


class CertificateStore:
    """Reads and revokes certificates. The database issues them, by a trigger on enrolments."""

    async def find_certificate(self, connection: AsyncConnection, certificate_id: str) -> Certificate | None:
        """Return the certificate, whoever's it is."""
        row = (await connection.execute(FIND, {"id": certificate_id})).first()
        return _certificate(row) if row else None

    async def lock_certificate(self, connection: AsyncConnection, certificate_id: str) -> Certificate | None:
        """Return the certificate, unchanged by others until the transaction ends."""
        row = (await connection.execute(LOCK, {"id": certificate_id})).first()
        return _certificate(row) if row else None

    async def list_certificates(
        self, connection: AsyncConnection, request: PageRequest, user_id: str
    ) -> Sequence[Certificate]:
        """Return one certificate of the person's more than the page holds, newest first."""
        before = request.cursor[0] if request.cursor else INDEX_MAX
        rows = await connection.execute(LIST, {"user_id": user_id, "before": before, "count": request.limit})
        return [_certificate(row) for row in rows]

    async def update_revoked(self, connection: AsyncConnection, certificate_id: str, *, reason: str) -> None:
        """Revoke a certificate, unless it is revoked."""
        await connection.execute(REVOKE, {"id": certificate_id, "reason": reason, "list_bits": LIST_BITS})

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:  # noqa: ARG002 - PersonalData's
        """Return the person's certificates."""
        return {"certificates": EXPORTED.of(user_id=user_id)}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Revoke the person's certificates. They stay, with opaque IDs only: their credentials are out in the world."""
        values = {"user_id": user_id, "reason": "", "list_bits": LIST_BITS}
        return (await connection.execute(REVOKE_OF, values)).rowcount


def _certificate(row: Any) -> Certificate:
    return Certificate(
        id=row.id,
        user_id=row.user_id,
        course_id=row.course_id,
        course_revision=row.course_revision,
        course_title=row.course_title,
        course_description=row.course_description,
        learner_name=row.learner_name,
        status_index=row.status_index,
        issue_time=row.issue_time,
        revoke_time=row.revoke_time,
        revoke_reason=row.revoke_reason,
    )
