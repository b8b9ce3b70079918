"""A counter of the seats that are taken in a course with a capacity, so that enrolling does not count enrolments."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0011"
down_revision = "0010"

# Courses without a capacity are not counted: their row would be locked by everyone who enrols. One that gets a capacity
# is counted then.
SEATS = """
ALTER TABLE courses ADD COLUMN seats_taken integer NOT NULL DEFAULT 0 CHECK (seats_taken >= 0);
UPDATE courses SET seats_taken = (
    SELECT count(*) FROM enrollments WHERE course_id = courses.id AND state IN ('ACTIVE', 'COMPLETED')
) WHERE capacity IS NOT NULL;

CREATE FUNCTION count_seat() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    taken integer := CASE WHEN TG_OP <> 'DELETE' THEN (NEW.state IN ('ACTIVE', 'COMPLETED'))::integer ELSE 0 END;
    before integer := CASE WHEN TG_OP <> 'INSERT' THEN (OLD.state IN ('ACTIVE', 'COMPLETED'))::integer ELSE 0 END;
BEGIN
    IF taken <> before THEN
        UPDATE courses SET seats_taken = seats_taken + taken - before
        WHERE id = CASE WHEN TG_OP = 'DELETE' THEN OLD.course_id ELSE NEW.course_id END AND capacity IS NOT NULL;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER enrollments_count_seat AFTER INSERT OR UPDATE OF state OR DELETE ON enrollments
    FOR EACH ROW EXECUTE FUNCTION count_seat();

CREATE FUNCTION count_seats() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.seats_taken := (
        SELECT count(*) FROM enrollments WHERE course_id = NEW.id AND state IN ('ACTIVE', 'COMPLETED')
    );
    RETURN NEW;
END $$;
CREATE TRIGGER courses_count_seats BEFORE UPDATE OF capacity ON courses
    FOR EACH ROW WHEN (OLD.capacity IS NULL AND NEW.capacity IS NOT NULL) EXECUTE FUNCTION count_seats();
"""


def upgrade() -> None:
    run_script(SEATS)
