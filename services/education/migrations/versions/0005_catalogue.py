"""The generation of the catalogue: it counts the changes of all courses, for what is answered from memory."""

from services.shared.migrations import run_script

revision = "0005"
down_revision = "0002"

CATALOGUE = """
CREATE TABLE catalogue (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    generation bigint NOT NULL
);
INSERT INTO catalogue (generation) VALUES (1);
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'education_app') THEN
        REVOKE INSERT, DELETE, TRUNCATE ON catalogue FROM education_app;
    END IF;
END $$;
"""


def upgrade() -> None:
    run_script(CATALOGUE)
