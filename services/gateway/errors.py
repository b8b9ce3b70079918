"""Errors of the gateway. Each class's reason is documented in azora/gateway/v1/error_reason.proto."""

from __future__ import annotations

from services.shared.errors import NotFound


class TraceNotFound(NotFound):
    """Trace not found."""
