"""What is searched without underscores: PostgreSQL reads a chain of words joined by them in quadratic time."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0024"
down_revision = "0023"

# A description of 5,000 characters, every second one an underscore, took a second. A comma separates words, too, and
# in the text of jsonb there are underscores within strings alone.
INDEXING = """
CREATE OR REPLACE FUNCTION index_course(of_course uuid, revision integer) RETURNS void LANGUAGE sql AS $$
    WITH indexed AS (
        INSERT INTO catalogue_entries (
            course_id, title, price_minor, price_currency, language, primary_language, configuration, document
        )
        SELECT r.course_id, left(lower(r.title), 64), r.price_minor, r.price_currency,
            lower(r.language), lower(split_part(r.language, '-', 1)), c.name,
            setweight(to_tsvector(c.name::regconfig, translate(r.title, '_', ',')), 'A')
                || setweight(to_tsvector(c.name::regconfig, translate(r.description, '_', ',')), 'B')
                || setweight(to_tsvector(c.name::regconfig, translate(
                    jsonb_path_query_array(r.modules, '$[*].title')::text, '_', ',')::jsonb), 'C')
                || setweight(to_tsvector(c.name::regconfig, translate(
                    jsonb_path_query_array(r.modules, '$[*].lessons[*].title')::text, '_', ',')::jsonb), 'D')
        FROM course_revisions r, search_configuration(r.language) AS c (name)
        WHERE r.course_id = of_course AND r.number = revision
        ON CONFLICT (course_id) DO UPDATE SET (
            title, price_minor, price_currency, language, primary_language, configuration, document
        ) = (
            excluded.title, excluded.price_minor, excluded.price_currency, excluded.language,
            excluded.primary_language, excluded.configuration, excluded.document
        )
        RETURNING configuration
    )
    INSERT INTO catalogue_configurations SELECT configuration FROM indexed ON CONFLICT DO NOTHING
$$;
SELECT index_course(c.id, c.revision) FROM courses c
    JOIN course_revisions r ON r.course_id = c.id AND r.number = c.revision
    WHERE c.state = 'PUBLISHED' AND position('_' IN r.title || r.description || r.modules::text) > 0;
"""


def upgrade() -> None:
    run_script(INDEXING)
