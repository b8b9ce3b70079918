"""Texts of payments, refunds and holds that can be erased, and not rewritten."""

from __future__ import annotations

from services.shared.migrations import run_script

revision = "0030"
down_revision = "0026"

ERASE_ONLY = """
CREATE TRIGGER payments_erase_only BEFORE UPDATE OF description ON payments
    FOR EACH ROW WHEN (NEW.description <> '') EXECUTE FUNCTION refuse_change();
CREATE TRIGGER holds_erase_only BEFORE UPDATE OF description ON holds
    FOR EACH ROW WHEN (NEW.description <> '') EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refunds_erase_only BEFORE UPDATE OF reason ON refunds
    FOR EACH ROW WHEN (NEW.reason <> '') EXECUTE FUNCTION refuse_change();
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'payment_app') THEN
        GRANT UPDATE (description) ON payments TO payment_app;
        GRANT UPDATE (description) ON holds TO payment_app;
        GRANT UPDATE (reason) ON refunds TO payment_app;
    END IF;
END $$;
"""


def upgrade() -> None:
    run_script(ERASE_ONLY)
