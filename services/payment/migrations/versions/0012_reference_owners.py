"""References belong to who earns by them: what an administrator writes takes nothing from a service's rewards."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0012"
down_revision = "0011"

# Only Education's rewards are for the completion of a course.
OWNERS = """
ALTER TABLE transactions ADD COLUMN reference_owner text;
ALTER TABLE transactions DISABLE TRIGGER transactions_append_only;
UPDATE transactions
SET reference_owner = CASE WHEN reference LIKE 'course-completion:%' THEN 'education' ELSE 'administrators' END
WHERE reference IS NOT NULL;
ALTER TABLE transactions ENABLE TRIGGER transactions_append_only;
ALTER TABLE transactions
    DROP CONSTRAINT transactions_reference_key,
    ADD UNIQUE (reference_owner, reference),
    ADD CHECK ((reference IS NULL) = (reference_owner IS NULL));
"""


def upgrade() -> None:
    run_script(OWNERS)
