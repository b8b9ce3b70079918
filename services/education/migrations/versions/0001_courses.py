"""Courses with their revisions, enrolments with their lessons, and what other services told."""

from __future__ import annotations

from services.shared.idempotency import CREATE_TABLE
from services.shared.jobs import create_tables
from services.shared.migrations import run_script

revision = "0001"
down_revision = None

COURSES = """
CREATE TABLE courses (
    id uuid PRIMARY KEY,
    educator_id uuid NOT NULL,
    state text NOT NULL DEFAULT 'DRAFT' CHECK (state IN ('DRAFT', 'PUBLISHED', 'ARCHIVED')),
    title text NOT NULL,
    description text NOT NULL,
    price_minor bigint NOT NULL CHECK (price_minor >= 0),
    price_currency text NOT NULL,
    reward_minor bigint NOT NULL CHECK (reward_minor >= 0),
    capacity integer CHECK (capacity >= 0),
    lesson_count integer NOT NULL,
    revision integer NOT NULL DEFAULT 0,
    version integer NOT NULL DEFAULT 1,
    published_version integer,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    publish_time timestamptz
);
CREATE INDEX courses_published_idx ON courses (id) WHERE state = 'PUBLISHED';
CREATE INDEX courses_educator_id_idx ON courses (educator_id, id);
CREATE TABLE modules (
    id uuid PRIMARY KEY,
    course_id uuid NOT NULL REFERENCES courses ON DELETE CASCADE,
    position integer NOT NULL,
    title text NOT NULL,
    CONSTRAINT modules_position_key UNIQUE (course_id, position) DEFERRABLE
);
CREATE TABLE lessons (
    id uuid PRIMARY KEY,
    module_id uuid NOT NULL REFERENCES modules ON DELETE CASCADE,
    position integer NOT NULL,
    title text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('ARTICLE', 'VIDEO', 'EXERCISE')),
    required boolean NOT NULL,
    content text NOT NULL,
    CONSTRAINT lessons_position_key UNIQUE (module_id, position) DEFERRABLE
);
"""

# A revision is one row, modules and lessons included: it is written once and read whole.
REVISIONS = """
CREATE TABLE course_revisions (
    course_id uuid NOT NULL REFERENCES courses,
    number integer NOT NULL CHECK (number > 0),
    title text NOT NULL,
    description text NOT NULL,
    price_minor bigint NOT NULL,
    price_currency text NOT NULL,
    reward_minor bigint NOT NULL,
    lesson_count integer NOT NULL,
    modules jsonb NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (course_id, number)
);
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'education_app') THEN
        REVOKE UPDATE, DELETE, TRUNCATE ON course_revisions FROM education_app;
    END IF;
END $$;
"""

ENROLLMENTS = """
CREATE TABLE enrollments (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    course_id uuid NOT NULL,
    course_revision integer NOT NULL,
    state text NOT NULL CHECK (state IN ('PENDING', 'ACTIVE', 'COMPLETED', 'CANCELLED')),
    attempt integer NOT NULL DEFAULT 1,
    key text NOT NULL,
    open_time timestamptz NOT NULL,
    hold_id uuid,
    payment_id uuid CONSTRAINT enrollments_payment_id_key UNIQUE,
    refused boolean NOT NULL DEFAULT false,
    refund_window_closed boolean NOT NULL DEFAULT false,
    completed_lessons integer NOT NULL DEFAULT 0,
    required_lessons integer NOT NULL CHECK (required_lessons > 0),
    enroll_time timestamptz,
    complete_time timestamptz,
    UNIQUE (user_id, course_id),
    FOREIGN KEY (course_id, course_revision) REFERENCES course_revisions,
    CHECK (completed_lessons BETWEEN 0 AND required_lessons)
);
CREATE INDEX enrollments_user_id_idx ON enrollments (user_id, id);
CREATE INDEX enrollments_seats_idx ON enrollments (course_id) WHERE state <> 'CANCELLED';
CREATE TABLE lesson_completions (
    enrollment_id uuid NOT NULL REFERENCES enrollments ON DELETE CASCADE,
    lesson_id uuid NOT NULL,
    complete_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (enrollment_id, lesson_id)
);
"""

EVENTS = """
CREATE TABLE received_events (
    id uuid PRIMARY KEY,
    receive_time timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE refunded_payments (
    payment_id uuid PRIMARY KEY,
    receive_time timestamptz NOT NULL DEFAULT now()
);
"""


def upgrade() -> None:
    for script in (CREATE_TABLE, create_tables(), COURSES, REVISIONS, ENROLLMENTS, EVENTS):
        run_script(script)
