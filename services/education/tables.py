"""The tables of Education's database; migrations/ makes them, with their constraints."""

from sqlalchemy import Boolean, Column, Integer, Table, Text, func

from services.education.courses.store import TABLES
from services.shared.db import Id, Time

enrollments = Table(
    "enrollments",
    TABLES,
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
    TABLES,
    Column("enrollment_id", Id, primary_key=True),
    Column("lesson_id", Id, primary_key=True),
    Column("complete_time", Time, nullable=False, server_default=func.now()),
)

refunded_payments = Table("refunded_payments", TABLES, Column("payment_id", Id, primary_key=True))
