"""Conversion between revocations and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import internal_service_pb2 as pb

from services.shared.convert import timestamp, to_time

if TYPE_CHECKING:
    from datetime import datetime

    from services.shared.revocations import Revoked, RevokedPage


def since(request: pb.ListRevocationsRequest) -> datetime | None:
    """Return the time from which revocations are asked for; None for all. Raises ValidationFailed."""
    return to_time(request.since, field="since") if request.HasField("since") else None


def revocation(revoked: Revoked) -> pb.Revocation:
    """Return the message of a revocation."""
    if revoked.user_id:
        user = pb.UserRevocation(
            user_id=revoked.user_id,
            before_epoch=revoked.before_epoch,
            except_session_id=revoked.except_session_id,
        )
        return pb.Revocation(user=user)
    return pb.Revocation(key_id=revoked.key_id) if revoked.key_id else pb.Revocation(session_id=revoked.session_id)


def list_revocations_response(page: RevokedPage) -> pb.ListRevocationsResponse:
    """Return a page of revocations."""
    return pb.ListRevocationsResponse(
        revocations=[revocation(revoked) for revoked in page.items],
        next_page_token=page.next_page_token,
        database_time=timestamp(page.database_time),
    )
