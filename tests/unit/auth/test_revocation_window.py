"""How far a poll for revocations goes back behind the one before."""

from __future__ import annotations

from azora.auth.v1 import auth_service_pb2, mfa_service_pb2, session_service_pb2

from services.auth.revocations.operations import COMMAND_SECONDS, COMMIT_WINDOW
from services.shared.db import END_SECONDS, STATEMENT_TIMEOUT_SECONDS
from services.shared.policy import compile_policies

MARGIN_SECONDS = 1


def test_no_transaction_that_revokes_lasts_as_long() -> None:
    """A process that stands still between the row and its commit has until the transaction's own timeout."""
    files = auth_service_pb2, mfa_service_pb2, session_service_pb2
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    longest = max(policy.timeout_seconds for policy in compile_policies(services).values())
    transaction_seconds = max(min(longest, STATEMENT_TIMEOUT_SECONDS), COMMAND_SECONDS) + END_SECONDS
    assert COMMIT_WINDOW.total_seconds() >= transaction_seconds + MARGIN_SECONDS
