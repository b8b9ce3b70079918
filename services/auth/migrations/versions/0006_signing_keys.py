"""When signing keys change their state. A key that no longer signs has no private half."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0003"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE signing_keys
            ALTER COLUMN private_key_sealed DROP NOT NULL,
            ADD COLUMN publish_time timestamptz,
            ADD COLUMN activate_time timestamptz,
            ADD COLUMN retire_time timestamptz,
            ADD COLUMN revoke_time timestamptz
    """)
    op.execute("UPDATE signing_keys SET publish_time = create_time, activate_time = create_time WHERE state = 'ACTIVE'")
    op.execute("CREATE UNIQUE INDEX signing_keys_next_key ON signing_keys (state) WHERE state = 'NEXT'")
