"""Errors of Payment. Each class's reason is documented in azora/payment/v1/error_reason.proto."""

from __future__ import annotations

from services.shared.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied


class InsufficientFunds(FailedPrecondition):
    """Insufficient available balance."""

    def __init__(self, *, currency: str) -> None:
        super().__init__(metadata={"currency": currency})


class WalletFrozen(FailedPrecondition):
    """The wallet is frozen."""


class CurrencyMismatch(InvalidArgument):
    """The currency does not match that of the payment or hold."""

    def __init__(self, *, currency: str) -> None:
        super().__init__(metadata={"currency": currency})


class AmountOverflow(InvalidArgument):
    """The resulting balance exceeds the supported range."""


class PaymentNotFound(NotFound):
    """Payment not found."""


class RefundNotFound(NotFound):
    """Refund not found."""


class RefundWindowClosed(FailedPrecondition):
    """The refund window has closed."""


class RefundExceedsPayment(FailedPrecondition):
    """The refund exceeds the refundable amount."""

    def __init__(self, *, refundable_minor: int) -> None:
        super().__init__(metadata={"refundableMinorUnits": str(refundable_minor)})


class RefundPending(FailedPrecondition):
    """Another refund of the payment is pending."""

    stored = False  # Its decision is near, and then the same call has another answer.

    def __init__(self, *, refund_id: str) -> None:
        super().__init__(metadata={"refundId": refund_id})


class PartialRefundNotAllowed(FailedPrecondition):
    """The payment bought a course; refund its full refundable amount."""

    def __init__(self, *, refundable_minor: int) -> None:
        super().__init__(metadata={"refundableMinorUnits": str(refundable_minor)})


class CourseCompleted(FailedPrecondition):
    """The course is completed; its payment can no longer be refunded."""

    def __init__(self, *, refund_id: str) -> None:
        super().__init__(metadata={"refundId": refund_id})


class ProgressLimitExceeded(FailedPrecondition):
    """The progress in the course exceeds the limit for refunds."""

    def __init__(self, *, refund_id: str) -> None:
        super().__init__(metadata={"refundId": refund_id})


class HoldNotFound(NotFound):
    """Hold not found."""


class HoldNotActive(FailedPrecondition):
    """The hold has already been captured or released."""


class HoldExpired(FailedPrecondition):
    """The hold has expired."""


class CaptureExceedsHold(FailedPrecondition):
    """The capture exceeds the held amount."""


class ReferenceUsed(AlreadyExists):
    """The reference was already used for another user or amount."""


class WebhookNotFound(NotFound):
    """Webhook not found."""


class WebhookUrlInvalid(InvalidArgument):
    """The webhook's URL must be an https URL of a public host."""


class WebhookEventTypeUnknown(InvalidArgument):
    """Unknown event type: use one of GET /v1/webhookEventTypes."""

    def __init__(self, *, event_type: str) -> None:
        super().__init__(metadata={"eventType": event_type})


class WebhookLimitReached(FailedPrecondition):
    """The maximum number of webhooks is reached; delete one first."""

    def __init__(self, *, max_webhooks: int) -> None:
        super().__init__(metadata={"maxWebhooks": str(max_webhooks)})


class WebhookDisabled(FailedPrecondition):
    """The webhook is disabled; enable it first."""


class WebhookDeliveryNotFound(NotFound):
    """Delivery not found."""


class AllUsersNotAllowed(PermissionDenied):
    """Webhooks of all users require PERMISSION_WEBHOOKS_MANAGE."""
