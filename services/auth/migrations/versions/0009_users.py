"""States of users, and what lists of users are read from."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0009"
down_revision = "0007"

USERS = """
ALTER TABLE users
    ADD COLUMN state text NOT NULL DEFAULT 'ACTIVE' CHECK (state IN ('ACTIVE', 'DISABLED', 'DELETING'));

-- Of one collation, whatever the database's: of all letters, not only those of ASCII.
CREATE FUNCTION name_folded(name text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN casefold(name COLLATE pg_c_utf8);

-- All parts of a name of one to three characters. Not pg_trgm: it is no part of a plain server, and knows no parts of
-- one or two characters, which are whole names in some scripts.
CREATE FUNCTION name_ngrams(name text) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN (
    SELECT coalesce(array_agg(DISTINCT substr(folded, start, size)), '{}')
    FROM
        (SELECT name_folded(name)) AS of_name (folded),
        generate_series(1, 3) AS size,
        generate_series(1, length(folded) - size + 1) AS start
);
CREATE INDEX users_name_ngrams_idx ON users USING gin (name_ngrams(name)) WITH (fastupdate = off);
CREATE INDEX users_role_idx ON users (role, id);
CREATE INDEX users_state_idx ON users (state, id);
CREATE INDEX users_create_time_idx ON users (create_time);
"""


def upgrade() -> None:
    run_script(USERS)
