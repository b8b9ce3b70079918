"""The SQL of failed attempts. The database's clock decides, read under the row's lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Column, Double, LargeBinary, MetaData, Table, bindparam, delete, func, select, text

from services.auth.failures.model import FIRST_WAIT_SECONDS, CountedFailure
from services.shared.db import Time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.failures.model import FailureLimit, Subject

failed_attempts = Table(
    "failed_attempts",
    MetaData(),
    Column("subject_digest", LargeBinary, primary_key=True),
    Column("failures", Double, nullable=False),
    Column("count_time", Time, nullable=False),
    Column("wait_end_time", Time, nullable=False),
)

# Failures are forgotten little by little, so their number is no integer; what is left of one counts as one.
_FORGOTTEN = "extract(epoch FROM clock_timestamp() - known.count_time) / :forget_seconds"
_FAILURES = f"least(greatest(known.failures - {_FORGOTTEN}, 0) + 1, :max_counted)"


def _wait_end(failures: str) -> str:
    seconds = f"least(:first_wait_seconds * power(2, ceil({failures}) - :max_failures), :max_wait_seconds)"
    due = f"ceil({failures}) >= :max_failures"
    return f"clock_timestamp() + make_interval(secs => CASE WHEN {due} THEN {seconds} ELSE 0 END)"


COUNT = text(f"""
INSERT INTO failed_attempts AS known (subject_digest, failures, count_time, wait_end_time)
VALUES (:subject_digest, 1, clock_timestamp(), {_wait_end("1")})
ON CONFLICT (subject_digest) DO UPDATE
SET failures = {_FAILURES}, count_time = clock_timestamp(), wait_end_time = {_wait_end(_FAILURES)}
WHERE known.wait_end_time <= clock_timestamp()
RETURNING new.wait_end_time, old.wait_end_time AS previous_wait_end_time
""").bindparams(bindparam("subject_digest", type_=LargeBinary))  # noqa: S608 - of the constants above
FIND_WAIT = select(
    func.extract("epoch", failed_attempts.c.wait_end_time - func.clock_timestamp()).label("seconds")
).where(failed_attempts.c.subject_digest == bindparam("digest"))
FIND_WAIT_END = select(func.max(failed_attempts.c.wait_end_time)).where(
    failed_attempts.c.subject_digest.in_(bindparam("digests", expanding=True)),
    failed_attempts.c.wait_end_time > func.clock_timestamp(),
)
# The wait that this failure began ends with it, and one that a later failure began goes on.
UNDO = text("""
UPDATE failed_attempts SET failures = greatest(failures - 1, 0),
    wait_end_time = CASE WHEN wait_end_time = :counted THEN coalesce(:previous, count_time) ELSE wait_end_time END
WHERE subject_digest = :subject_digest
""").bindparams(
    bindparam("subject_digest", type_=LargeBinary), bindparam("counted", type_=Time), bindparam("previous", type_=Time)
)
DELETE = delete(failed_attempts).where(failed_attempts.c.subject_digest == bindparam("digest"))


class FailureStore:
    """Reads and writes failed attempts."""

    async def update_failures(
        self, connection: AsyncConnection, digest: bytes, *, subject: Subject, limit: FailureLimit
    ) -> CountedFailure | None:
        """Count a failure of a subject; None while it has to wait. The row stays locked: one caller passes a wait."""
        values = {
            "subject_digest": digest,
            "forget_seconds": limit.forget_seconds,
            "first_wait_seconds": FIRST_WAIT_SECONDS,
            "max_wait_seconds": limit.max_wait_seconds,
            "max_failures": limit.max_failures,
            "max_counted": limit.max_counted,
        }
        row = (await connection.execute(COUNT, values)).one_or_none()
        return CountedFailure(subject, row.wait_end_time, row.previous_wait_end_time) if row else None

    async def find_wait_seconds(self, connection: AsyncConnection, digest: bytes) -> float:
        """Return how long a subject has to wait; not above 0 if it need not."""
        seconds = (await connection.execute(FIND_WAIT, {"digest": digest})).scalar_one_or_none()
        return float(seconds or 0)

    async def find_wait_end(self, connection: AsyncConnection, digests: Sequence[bytes]) -> datetime | None:
        """Return the end of the longest wait of several subjects; None if none has to wait."""
        end: datetime | None = (await connection.execute(FIND_WAIT_END, {"digests": digests})).scalar_one()
        return end

    async def update_undone(self, connection: AsyncConnection, digest: bytes, counted: CountedFailure) -> None:
        """Take a counted failure back."""
        values = {"counted": counted.wait_end_time, "previous": counted.previous_wait_end_time}
        await connection.execute(UNDO, {"subject_digest": digest, **values})

    async def delete_failures(self, connection: AsyncConnection, digest: bytes) -> None:
        """Forget a subject's failures."""
        await connection.execute(DELETE, {"digest": digest})
