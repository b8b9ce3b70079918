"""Languages, durations, prerequisites, sequential modules and quizzes; the modules of a draft as one document."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0020"
down_revision = "0013"

COLUMNS = """
ALTER TABLE courses
    ADD COLUMN language text NOT NULL DEFAULT '',
    ADD COLUMN duration_seconds integer NOT NULL DEFAULT 0 CHECK (duration_seconds >= 0),
    ADD COLUMN prerequisites uuid[] NOT NULL DEFAULT '{}',
    ADD COLUMN modules jsonb NOT NULL DEFAULT '[]';
ALTER TABLE course_revisions
    ADD COLUMN language text NOT NULL DEFAULT '',
    ADD COLUMN duration_seconds integer NOT NULL DEFAULT 0,
    ADD COLUMN prerequisites uuid[] NOT NULL DEFAULT '{}';
"""

# A draft is written whole, as a revision is: moving, limits and rolling back need all of it. The old tables stay for
# processes of the earlier version, which fill them while both versions serve.
DRAFTS = """
CREATE FUNCTION draft_modules(draft uuid) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object(
        'id', m.id,
        'title', m.title,
        'lessons', (
            SELECT coalesce(jsonb_agg(jsonb_build_object(
                'id', l.id, 'title', l.title, 'kind', l.kind, 'required', l.required, 'content', l.content
            ) ORDER BY l.position), '[]')
            FROM lessons l WHERE l.module_id = m.id
        )
    ) ORDER BY m.position), '[]')
    FROM modules m WHERE m.course_id = draft
$$;
UPDATE courses SET modules = draft_modules(id);

CREATE FUNCTION copy_draft() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'modules' THEN
        UPDATE courses SET modules = draft_modules(id) WHERE id IN (SELECT course_id FROM inserted);
    ELSE
        UPDATE courses SET modules = draft_modules(id) WHERE id IN (
            SELECT m.course_id FROM modules m WHERE m.id IN (SELECT module_id FROM inserted)
        );
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER modules_copy_draft AFTER INSERT ON modules
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION copy_draft();
CREATE TRIGGER lessons_copy_draft AFTER INSERT ON lessons
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION copy_draft();
"""


def upgrade() -> None:
    for script in (COLUMNS, DRAFTS):
        run_script(script)
