"""What has outlived its use is deleted by the periodic job of a running service, table by table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import BytesValue

from services.shared import retention
from services.shared.policy import METRICS
from tests.support.education import running_education
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import pytest

    from tests.support.postgres import Clone

RETAINED = {
    "pgqueuer_log": (7, "(job_id, status, priority, entrypoint, created)", "1, 'successful', 0, 'old'"),
    "pgqueuer_statistics": (7, "(count, priority, status, entrypoint, created)", "1, 0, 'successful', 'old'"),
    "received_events": (30, "(id, receive_time)", "gen_random_uuid()"),
    "closed_payments": (30, "(payment_id, close_time)", "gen_random_uuid()"),
    "idempotency_records": (
        1,
        "(principal_id, method, fingerprint, key, create_time)",
        "'user', 'Enroll', '', gen_random_uuid()",
    ),
    "audit_origins": (
        365,
        "(event_id, salt, address, user_agent, create_time)",
        "gen_random_uuid(), '0123456789abcdef', '', ''",
    ),
}
"""The days that a row of each table is kept, its columns and the values of all but the last, which is its time."""

AGES = """
SELECT extract(day FROM now() - {time})::int FROM {table} WHERE {time} < now() - interval '12 hours' * $1 ORDER BY 1
"""


async def test_each_table_loses_what_is_older_than_it_keeps_and_nothing_else(
    education_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SCHEDULE", "* * * * * *")
    async with running_education(education_database.app_url, education_database.owner_url) as education:
        for table, (days, columns, values) in RETAINED.items():
            for age in (f"{days} days 1 minute", f"{days} days -5 minutes"):
                await education.sql(f"INSERT INTO {table} {columns} SELECT {values}, now() - interval '{age}'")

        async def found() -> dict[str, list[int]]:
            """Return the ages in days of the rows of each table that are older than half of what it keeps."""
            return {
                table: [row[0] for row in await education.sql(AGES.format(table=table, time=_time(columns)), days)]
                for table, (days, columns, _) in RETAINED.items()
            }

        async def expired() -> bool:
            return await found() == {table: [days - 1] for table, (days, _, _) in RETAINED.items()}

        await eventually(expired)
        get_metrics: Any = education.channel.unary_unary(METRICS, Empty.SerializeToString, BytesValue.FromString)
        page = (await get_metrics(Empty())).value.decode()
        assert 'azora_job_duration_seconds_count{job="expire",outcome="done"}' in page


def _time(columns: str) -> str:
    return columns.rpartition(" ")[2].removesuffix(")")
