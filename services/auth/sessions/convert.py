"""Conversion between sessions and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import session_pb2
from azora.auth.v1 import session_service_pb2 as pb

from services.shared.convert import timestamp

if TYPE_CHECKING:
    from services.auth.sessions.model import OpenSession
    from services.shared.pagination import Page


def session(model: OpenSession, *, current_id: str) -> session_pb2.Session:
    """Return the message of a session; `current_id` is that of the access token's."""
    return session_pb2.Session(
        id=model.id,
        device=model.device,
        address=model.address,
        create_time=timestamp(model.create_time),
        last_use_time=timestamp(model.last_use_time),
        expire_time=timestamp(model.expire_time),
        current=model.id == current_id,
    )


def list_sessions_response(page: Page[OpenSession], *, current_id: str) -> pb.ListSessionsResponse:
    """Return a page of sessions."""
    return pb.ListSessionsResponse(
        sessions=[session(model, current_id=current_id) for model in page.items],
        next_page_token=page.next_page_token,
    )
