"""Deletions of accounts, and what each service has confirmed."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0010"
down_revision = "0009"

# Without references to users: the record of a deletion outlives the account, with opaque IDs alone.
ERASURES = """
CREATE TABLE erasures (
    user_id uuid PRIMARY KEY,
    requester_id uuid NOT NULL,
    request_time timestamptz NOT NULL,
    complete_time timestamptz,
    remainder_time timestamptz
);
CREATE INDEX erasures_incomplete_idx ON erasures (request_time) WHERE complete_time IS NULL;
CREATE INDEX erasures_remaining_idx ON erasures (complete_time) WHERE remainder_time IS NULL;
CREATE TABLE service_erasures (
    user_id uuid NOT NULL REFERENCES erasures,
    service text NOT NULL,
    position integer NOT NULL,
    confirm_time timestamptz,
    pending text NOT NULL,
    PRIMARY KEY (user_id, service)
);
"""


def upgrade() -> None:
    run_script(ERASURES)
