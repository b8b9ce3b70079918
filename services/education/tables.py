"""The tables of Education's database; migrations/ makes them, with their constraints."""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, Table, Text, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB

from services.shared import db

metadata = db.metadata()

Id = Uuid(as_uuid=False)
Time = DateTime(timezone=True)
ID_MOST = "ffffffff-ffff-ffff-ffff-ffffffffffff"
"""After every id: where a list that runs backwards begins."""

courses = Table(
    "courses",
    metadata,
    Column("id", Id, primary_key=True),
    Column("educator_id", Id, nullable=False),
    Column("state", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("price_currency", Text, nullable=False),
    Column("reward_minor", BigInteger, nullable=False),
    Column("capacity", Integer),
    Column("lesson_count", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("published_version", Integer),
    Column("create_time", Time, nullable=False, server_default=func.now()),
    Column("update_time", Time, nullable=False, server_default=func.now()),
    Column("publish_time", Time),
)

modules = Table(
    "modules",
    metadata,
    Column("id", Id, primary_key=True),
    Column("course_id", Id, nullable=False),
    Column("position", Integer, nullable=False),
    Column("title", Text, nullable=False),
)

lessons = Table(
    "lessons",
    metadata,
    Column("id", Id, primary_key=True),
    Column("module_id", Id, nullable=False),
    Column("position", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("required", Boolean, nullable=False),
    Column("content", Text, nullable=False),
)

course_revisions = Table(
    "course_revisions",
    metadata,
    Column("course_id", Id, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("price_currency", Text, nullable=False),
    Column("reward_minor", BigInteger, nullable=False),
    Column("lesson_count", Integer, nullable=False),
    Column("modules", JSONB, nullable=False),
    Column("create_time", Time, nullable=False),
)

enrollments = Table(
    "enrollments",
    metadata,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("course_id", Id, nullable=False),
    Column("course_revision", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("open_time", Time, nullable=False),
    Column("hold_id", Id),
    Column("payment_id", Id),
    Column("refused", Boolean, nullable=False),
    Column("refund_window_closed", Boolean, nullable=False),
    Column("completed_lessons", Integer, nullable=False),
    Column("required_lessons", Integer, nullable=False),
    Column("enroll_time", Time),
    Column("complete_time", Time),
)

lesson_completions = Table(
    "lesson_completions",
    metadata,
    Column("enrollment_id", Id, primary_key=True),
    Column("lesson_id", Id, primary_key=True),
    Column("complete_time", Time, nullable=False, server_default=func.now()),
)

received_events = Table(
    "received_events",
    metadata,
    Column("id", Id, primary_key=True),
    Column("receive_time", Time, nullable=False),
)

refunded_payments = Table(
    "refunded_payments",
    metadata,
    Column("payment_id", Id, primary_key=True),
    Column("receive_time", Time, nullable=False),
)
