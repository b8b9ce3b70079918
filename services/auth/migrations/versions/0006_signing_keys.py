"""When signing keys change their state; preferences; names that Education is told, those of all users to begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import op
from azora.auth.v1 import events_pb2
from sqlalchemy import text

from services.shared.ids import new_id
from services.shared.migrations import run_script

if TYPE_CHECKING:
    from sqlalchemy import Row

revision = "0006"
down_revision = "0005"

# A key that no longer signs has no private half.
KEYS = """
ALTER TABLE signing_keys
    ALTER COLUMN private_key_sealed DROP NOT NULL,
    ADD COLUMN publish_time timestamptz,
    ADD COLUMN activate_time timestamptz,
    ADD COLUMN retire_time timestamptz,
    ADD COLUMN revoke_time timestamptz;
UPDATE signing_keys SET publish_time = create_time, activate_time = create_time WHERE state = 'ACTIVE';
CREATE UNIQUE INDEX signing_keys_next_key ON signing_keys (state) WHERE state = 'NEXT';
"""
# As it was written, digit for digit: nothing looks into it.
PROFILES = """
ALTER TABLE users
    ADD COLUMN preferences json NOT NULL DEFAULT '{}',
    ADD COLUMN name_version bigint NOT NULL DEFAULT 1;
"""
USERS = text("SELECT id::text, name FROM users WHERE id > :after ORDER BY id LIMIT 1000")
PUBLISH = text("""
    INSERT INTO outbox (event_id, subscriber, type, payload)
    VALUES (:id, 'education', 'azora.auth.v1.UserRenamed', :payload)
""")


def upgrade() -> None:
    run_script(KEYS)
    run_script(PROFILES)
    connection, after = op.get_bind(), "00000000-0000-0000-0000-000000000000"
    while users := connection.execute(USERS, {"after": after}).all():
        connection.execute(PUBLISH, [_event(user) for user in users])
        after = users[-1].id


def _event(user: Row[tuple[str, str]]) -> dict[str, object]:
    return {
        "id": new_id(),
        "payload": events_pb2.UserRenamed(user_id=user.id, name=user.name, version=1).SerializeToString(),
    }
