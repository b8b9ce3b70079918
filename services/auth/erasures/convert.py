"""Conversion between erasures and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import erasure_pb2

from services.shared.convert import timestamp

if TYPE_CHECKING:
    from services.auth.erasures.model import Erasure


def erasure(model: Erasure) -> erasure_pb2.Erasure:
    """Return the message of an erasure."""
    return erasure_pb2.Erasure(
        requester_id=model.requester_id,
        request_time=timestamp(model.request_time),
        services=[
            erasure_pb2.ServiceErasure(
                service=service.service, confirm_time=timestamp(service.confirm_time), pending=service.pending
            )
            for service in model.services
        ],
    )
