"""Certificates of completed courses, their status lists, and the keys that sign their credentials."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0023"
down_revision = "0022"

# A certificate outlives the learner's enrolment: what was issued must stay known as revoked. Its ID is random, because
# who knows it may verify it. Credentials hold times in whole seconds.
# A status list's version grows with each revocation in it, so that a list is signed once per change.
CERTIFICATES = """
CREATE TABLE certificates (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    course_id uuid NOT NULL,
    course_revision integer NOT NULL,
    status_index bigint NOT NULL GENERATED ALWAYS AS IDENTITY (MINVALUE 0 START WITH 0) UNIQUE,
    issue_time timestamptz NOT NULL,
    revoke_time timestamptz,
    revoke_reason text NOT NULL DEFAULT '',
    UNIQUE (user_id, course_id),
    FOREIGN KEY (course_id, course_revision) REFERENCES course_revisions (course_id, number)
);
CREATE INDEX certificates_revoked_idx ON certificates (status_index) WHERE revoke_time IS NOT NULL;
CREATE TABLE status_lists (
    number bigint PRIMARY KEY,
    version bigint NOT NULL
);
CREATE TABLE credential_keys (
    id uuid PRIMARY KEY,
    n text NOT NULL,
    e text NOT NULL,
    private_key_sealed bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'education_app') THEN
        REVOKE UPDATE, DELETE, TRUNCATE ON certificates, credential_keys FROM education_app;
        GRANT UPDATE (revoke_time, revoke_reason) ON certificates TO education_app;
        GRANT UPDATE (private_key_sealed) ON credential_keys TO education_app;
        REVOKE DELETE, TRUNCATE ON status_lists FROM education_app;
    END IF;
END $$;
"""

# By a trigger: whatever completes an enrolment issues its certificate in the same statement.
ISSUING = """
CREATE FUNCTION issue_certificate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO certificates (user_id, course_id, course_revision, issue_time)
    VALUES (NEW.user_id, NEW.course_id, NEW.course_revision, date_trunc('second', NEW.complete_time))
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER enrollments_issue_certificate AFTER UPDATE ON enrollments
    FOR EACH ROW WHEN (OLD.complete_time IS NULL AND NEW.complete_time IS NOT NULL)
    EXECUTE FUNCTION issue_certificate();
INSERT INTO certificates (user_id, course_id, course_revision, issue_time)
    SELECT user_id, course_id, course_revision, date_trunc('second', complete_time) FROM enrollments
    WHERE state = 'COMPLETED' AND complete_time IS NOT NULL ORDER BY complete_time, id;
"""


def upgrade() -> None:
    for script in (CERTIFICATES, ISSUING):
        run_script(script)
