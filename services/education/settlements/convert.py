"""Conversion between settlements and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import internal_service_pb2

from services.education.enrollments.model import PaymentRefunded

if TYPE_CHECKING:
    from azora.payment.v1 import events_pb2


def close_enrollment_response(_: None) -> internal_service_pb2.CloseEnrollmentResponse:
    """Return the answer of CloseEnrollment."""
    return internal_service_pb2.CloseEnrollmentResponse()


def payment_refunded(message: events_pb2.PaymentRefunded) -> PaymentRefunded:
    """Return the event."""
    return PaymentRefunded(message.payment_id, message.in_full)
