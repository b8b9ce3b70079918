"""Names of people, as Auth tells them: courses show their educators'."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0013"
down_revision = "0012"

PEOPLE = """
CREATE TABLE people (
    user_id uuid PRIMARY KEY,
    name text NOT NULL,
    name_version bigint NOT NULL
);
"""


def upgrade() -> None:
    run_script(PEOPLE)
