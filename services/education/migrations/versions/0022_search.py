"""What the catalogue finds published courses by, and the counters of enrolments and lessons."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0022"
down_revision = "0021"

# Primary language subtags (BCP 47) and PostgreSQL's text search configurations. A column of the type regconfig would
# keep pg_upgrade from working, so that configurations are stored by name.
CONFIGURATIONS = """
CREATE FUNCTION search_configuration(language text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE lower(split_part(language, '-', 1))
        WHEN 'ar' THEN 'arabic' WHEN 'ca' THEN 'catalan' WHEN 'da' THEN 'danish' WHEN 'de' THEN 'german'
        WHEN 'el' THEN 'greek' WHEN 'en' THEN 'english' WHEN 'es' THEN 'spanish' WHEN 'eu' THEN 'basque'
        WHEN 'fi' THEN 'finnish' WHEN 'fr' THEN 'french' WHEN 'ga' THEN 'irish' WHEN 'hi' THEN 'hindi'
        WHEN 'hu' THEN 'hungarian' WHEN 'hy' THEN 'armenian' WHEN 'id' THEN 'indonesian' WHEN 'it' THEN 'italian'
        WHEN 'lt' THEN 'lithuanian' WHEN 'nb' THEN 'norwegian' WHEN 'ne' THEN 'nepali' WHEN 'nl' THEN 'dutch'
        WHEN 'nn' THEN 'norwegian' WHEN 'no' THEN 'norwegian' WHEN 'pt' THEN 'portuguese' WHEN 'ro' THEN 'romanian'
        WHEN 'ru' THEN 'russian' WHEN 'sr' THEN 'serbian' WHEN 'sv' THEN 'swedish' WHEN 'ta' THEN 'tamil'
        WHEN 'tr' THEN 'turkish' WHEN 'yi' THEN 'yiddish'
        ELSE 'simple'
    END
$$;
"""

# One narrow row for each published course, as its newest revision has it: tsvectors are stored beside the table, so
# that a filter reads few pages. Titles are cut, because they stand in page tokens.
ENTRIES = """
CREATE TABLE catalogue_entries (
    course_id uuid PRIMARY KEY REFERENCES courses ON DELETE CASCADE,
    title text NOT NULL,
    price_minor bigint NOT NULL,
    price_currency text NOT NULL,
    language text NOT NULL,
    primary_language text NOT NULL,
    configuration text NOT NULL,
    document tsvector NOT NULL
) WITH (toast_tuple_target = 128);
ALTER TABLE catalogue_entries ALTER COLUMN document SET STORAGE EXTERNAL;
CREATE INDEX catalogue_entries_price_idx ON catalogue_entries (price_currency, price_minor, course_id);
CREATE INDEX catalogue_entries_title_idx ON catalogue_entries (title, course_id);
CREATE INDEX catalogue_entries_language_idx ON catalogue_entries (primary_language, course_id);
CREATE INDEX catalogue_entries_document_idx ON catalogue_entries USING gin (document) WITH (fastupdate = off);
CREATE TABLE catalogue_configurations (
    configuration text PRIMARY KEY
);
"""

# Lessons' content is not part of the document: search would tell anyone which words the lessons of a paid course hold.
INDEXING = """
CREATE FUNCTION index_course(of_course uuid, revision integer) RETURNS void LANGUAGE sql AS $$
    WITH indexed AS (
        INSERT INTO catalogue_entries (
            course_id, title, price_minor, price_currency, language, primary_language, configuration, document
        )
        SELECT r.course_id, left(lower(r.title), 64), r.price_minor, r.price_currency,
            lower(r.language), lower(split_part(r.language, '-', 1)), c.name,
            setweight(to_tsvector(c.name::regconfig, r.title), 'A')
                || setweight(to_tsvector(c.name::regconfig, r.description), 'B')
                || setweight(to_tsvector(c.name::regconfig, jsonb_path_query_array(r.modules, '$[*].title')), 'C')
                || setweight(
                    to_tsvector(c.name::regconfig, jsonb_path_query_array(r.modules, '$[*].lessons[*].title')), 'D'
                )
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

CREATE FUNCTION follow_course() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state = 'PUBLISHED' THEN
        PERFORM index_course(NEW.id, NEW.revision);
    ELSE
        DELETE FROM catalogue_entries WHERE course_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER courses_insert_entry AFTER INSERT ON courses
    FOR EACH ROW WHEN (NEW.state = 'PUBLISHED') EXECUTE FUNCTION follow_course();
CREATE TRIGGER courses_update_entry AFTER UPDATE OF state, revision ON courses
    FOR EACH ROW WHEN (OLD.state <> NEW.state OR OLD.revision <> NEW.revision) EXECUTE FUNCTION follow_course();
SELECT index_course(id, revision) FROM courses WHERE state = 'PUBLISHED';
"""

# A change is a row of its own: a counter that every learner of a course changed would be locked by each of them.
FIGURES = """
CREATE TABLE figure_counters (
    subject_id uuid NOT NULL,
    name text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (subject_id, name)
);
CREATE TABLE figure_changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject_id uuid NOT NULL,
    name text NOT NULL,
    change smallint NOT NULL
);
CREATE INDEX figure_changes_subject_id_idx ON figure_changes (subject_id);

CREATE FUNCTION enrollment_figures(state text, enroll_time timestamptz) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN enroll_time IS NOT NULL THEN ARRAY['ENROLLED'] ELSE '{}' END
        || CASE WHEN state <> 'CANCELLED' OR enroll_time IS NOT NULL THEN ARRAY[state] ELSE '{}' END
$$;
CREATE FUNCTION note_enrollment_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO figure_changes (subject_id, name, change)
    SELECT course_id, name, sum(change) FROM (
        SELECT OLD.course_id, unnest(enrollment_figures(OLD.state, OLD.enroll_time)), -1 WHERE TG_OP <> 'INSERT'
        UNION ALL
        SELECT NEW.course_id, unnest(enrollment_figures(NEW.state, NEW.enroll_time)), 1 WHERE TG_OP <> 'DELETE'
    ) AS changes (course_id, name, change)
    GROUP BY course_id, name HAVING sum(change) <> 0;
    RETURN NULL;
END $$;
CREATE TRIGGER enrollments_note_new AFTER INSERT OR DELETE ON enrollments
    FOR EACH ROW EXECUTE FUNCTION note_enrollment_change();
CREATE TRIGGER enrollments_note_change AFTER UPDATE ON enrollments
    FOR EACH ROW WHEN (OLD.state <> NEW.state OR OLD.enroll_time IS DISTINCT FROM NEW.enroll_time)
    EXECUTE FUNCTION note_enrollment_change();

CREATE FUNCTION note_lesson_completion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO figure_changes (subject_id, name, change) VALUES (NEW.lesson_id, 'LESSON_COMPLETED', 1);
    ELSE
        INSERT INTO figure_changes (subject_id, name, change) VALUES (OLD.lesson_id, 'LESSON_COMPLETED', -1);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER lesson_completions_note_change AFTER INSERT OR DELETE ON lesson_completions
    FOR EACH ROW EXECUTE FUNCTION note_lesson_completion();

INSERT INTO figure_counters
    SELECT course_id, name, count(*) FROM enrollments, unnest(enrollment_figures(state, enroll_time)) AS name
    GROUP BY course_id, name
    UNION ALL
    SELECT lesson_id, 'LESSON_COMPLETED', count(*) FROM lesson_completions GROUP BY lesson_id;
"""


def upgrade() -> None:
    for script in (CONFIGURATIONS, ENTRIES, INDEXING, FIGURES):
        run_script(script)
