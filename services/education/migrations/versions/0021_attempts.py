"""Attempts at quizzes; a version of each enrolment, which watches of its progress follow; seats."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0021"
down_revision = "0020"

VERSIONS = """
ALTER TABLE enrollments ADD COLUMN version bigint NOT NULL DEFAULT 1;
"""

# The questions are a copy, right answers included: what was drawn is graded, whatever becomes of the course.
# Points and `passed` are always those of the saved answers, so that an attempt is graded when its deadline passes;
# `grade_time` says that what follows from the grade is written.
ATTEMPTS = """
CREATE TABLE quiz_attempts (
    id uuid PRIMARY KEY,
    enrollment_id uuid NOT NULL REFERENCES enrollments ON DELETE CASCADE,
    lesson_id uuid NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    pass_basis_points integer NOT NULL,
    max_attempts integer,
    questions jsonb NOT NULL,
    answers jsonb NOT NULL,
    points integer NOT NULL,
    max_points integer NOT NULL CHECK (max_points > 0),
    passed boolean NOT NULL,
    start_time timestamptz NOT NULL,
    deadline timestamptz,
    submit_time timestamptz,
    grade_time timestamptz,
    UNIQUE (enrollment_id, lesson_id, number),
    CHECK (points BETWEEN 0 AND max_points)
);
CREATE UNIQUE INDEX quiz_attempts_open_idx ON quiz_attempts (enrollment_id, lesson_id) WHERE grade_time IS NULL;
"""

# Completing a lesson writes the state, too, and mostly the same one: that is no reason to run the function.
SEATS = """
DROP TRIGGER enrollments_count_seat ON enrollments;
CREATE TRIGGER enrollments_count_seat AFTER INSERT OR DELETE ON enrollments
    FOR EACH ROW EXECUTE FUNCTION count_seat();
CREATE TRIGGER enrollments_move_seat AFTER UPDATE OF state ON enrollments
    FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION count_seat();
"""


def upgrade() -> None:
    for script in (VERSIONS, ATTEMPTS, SEATS):
        run_script(script)
